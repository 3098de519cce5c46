# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Inspect and repair an outbox: list, show, retry, bury, replay, rebind, check, vacuum, repair."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sourcepulse.cli.common import (
    add_action,
    add_json,
    add_settings,
    open_outbox,
    outbox_path,
    positive,
    print_json,
    print_table,
    settings,
    warn_if_unrelayed,
)
from sourcepulse.errors import EXIT_OK, EXIT_OUTBOX, EXIT_REFUSED, ConfigError, NothingThereError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.events.safe_text import plain
from sourcepulse.events.topics import check_pattern
from sourcepulse.outbox import queries as outbox_view
from sourcepulse.outbox.delivery_state import bound_broker, unbind_broker
from sourcepulse.outbox.outbox import BURIED, DELIVERED, Outbox
from sourcepulse.outbox.queries import STATES, Selection
from sourcepulse.outbox.repair import check_needs_repair, problems, repair
from sourcepulse.outbox.replays import request_replay
from sourcepulse.outbox.retention import vacuum
from sourcepulse.relay.on_demand import forget_failed_start
from sourcepulse.relay.relay import is_relayed, relay_lock

HELP = "inspect and repair an outbox"

BURY_REASON = "buried by hand"

#: What `list` prints of each event, and under which name.
_COLUMNS = (
    ("POSITION", "position"),
    ("STATE", "state"),
    ("TIME (UTC)", "time"),
    ("ID", "id"),
    ("SOURCE", "source"),
    ("ROUTING KEY", "routing_key"),
    ("REASON", "reason"),
)

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `outbox` and its actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _action(actions, "list", _list, "list events, oldest first", _selection_arguments, _list_arguments)
    _action(actions, "show", _show, "show one event as it is sent", _names_argument)
    _action(actions, "retry", _retry, "make buried events pending again", _names_or_all_argument, add_json)
    bury = "bury pending events, so that the relay skips them"
    _action(actions, "bury", _bury, bury, _names_argument, _reason_argument, add_json)
    _action(actions, "replay", _replay, "send delivered events again", _optional_names, _selection_arguments, add_json)
    _action(actions, "rebind", _rebind, "accept that the broker has changed", _stream_argument)
    _action(actions, "check", _check, "check the file and its numbers")
    _action(actions, "vacuum", _vacuum, "return the space of expired events to the disk")
    repair = "copy everything readable in a damaged file into a new one"
    _action(actions, "repair", _repair, repair, _force_argument, add_json)


def _stream_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", choices=(PUBLIC, RESTRICTED), help="only this stream")


def _rebind(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for stream in (args.stream,) if args.stream else (PUBLIC, RESTRICTED):
            if (former := bound_broker(outbox, stream)) is not None:
                unbind_broker(outbox, stream)
                forget_failed_start(str(outbox.path))
                print(f"{stream}: went to {plain(former)}; goes to the configured broker from now on")
        warn_if_unrelayed(outbox, "the events go there with the next relay,")
    return EXIT_OK


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(args.action(args))


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    help_: str,
    *extend: Callable[[argparse.ArgumentParser], None],
) -> None:
    parser = add_action(actions, name, help_)
    add_settings(parser, "outbox")
    for add in extend:
        add(parser)
    parser.set_defaults(action=action)


def _names_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="EVENT", help="an id, the beginning of one, or a position")


def _optional_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="EVENT", help="an id, the beginning of one, or a position")


def _names_or_all_argument(parser: argparse.ArgumentParser) -> None:
    _optional_names(parser)
    parser.add_argument("--all", action="store_true", help="every buried event")


def _reason_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default=BURY_REASON, help="the reason, shown by `list` and `show`")


def _selection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="URI", help="only events of this source")
    parser.add_argument(
        "--type", metavar="TYPE", help="only events of this type, e.g. hg.push, or hg.push.v1 for one version"
    )
    parser.add_argument("--topic", metavar="PATTERN", help="only events whose routing key matches, e.g. 'hg.push.#'")
    parser.add_argument("--since", metavar="TIME", help="only events stored since then, e.g. 2026-11-22T08:00Z")
    parser.add_argument("--until", metavar="TIME", help="only events stored until then")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="only events in this state")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N events")
    add_json(parser, "one JSON object per line (schema: outbox-list.v1)")


def _list(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        rows = outbox_view.rows(outbox, _selection(args, state=args.state), limit=args.limit)
    if args.json:
        for row in rows:
            print_json(row)
    else:
        print_table([name for name, _ in _COLUMNS], [[str(row[key] or "") for _, key in _COLUMNS] for row in rows])
    return EXIT_OK


def _show(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for name in args.names:
            row = outbox_view.find(outbox, name)
            event = json.loads(outbox_view.body(outbox, row["position"]))
            print(json.dumps({**row, "event": event}, indent=2, ensure_ascii=True))
    return EXIT_OK


def _retry(args: argparse.Namespace) -> int:
    if args.all == bool(args.names):
        raise ConfigError("name the events to retry, or use --all")
    with open_outbox(settings(args)) as outbox:
        rows = _named(outbox, args.names) or outbox_view.rows(outbox, Selection(state=BURIED))
        if not rows:
            raise NothingThereError("no event is buried")
        for row in rows:
            outbox.retry(row["position"])
            _print_done(args, row, "pending again")
    return EXIT_OK


def _bury(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for row in _named(outbox, args.names):
            outbox.bury(row["position"], args.reason)
            _print_done(args, row, "buried")
    return EXIT_OK


def _replay(args: argparse.Namespace) -> int:
    selection = _selection(args, state=DELIVERED, stored=True)
    if not args.names and selection == Selection(state=DELIVERED, stored=True):
        raise ConfigError("name the events to replay, or select them by --source, --type, --topic, --since, --until")
    with open_outbox(settings(args)) as outbox:
        rows = _named(outbox, args.names) or outbox_view.rows(outbox, selection)
        if not rows:
            raise NothingThereError("no delivered event that is still kept matches")
        for row in rows:
            request_replay(outbox, row["position"])
            _print_done(args, row, "to be replayed")
        _log_replays(outbox, len(rows))
    return EXIT_OK


def _print_done(args: argparse.Namespace, row: dict[str, Any], what: str) -> None:
    if args.json:
        print_json({"id": row["id"], "position": row["position"]})
    else:
        print(f"{row['id']}  {plain(row['routing_key'])}  {what}")


def _log_replays(outbox: Outbox, count: int) -> None:
    if is_relayed(outbox.path):
        logger.info("replays that the running relay will publish: %d", count)
    warn_if_unrelayed(outbox, f"replays requested: {count},")


def _check(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        found = problems(outbox)
        sound = f"{outbox.path} is sound; no number is missing"
    for problem in found or [sound]:
        print(problem)
    return EXIT_OUTBOX if found else EXIT_OK


def _repair(args: argparse.Namespace) -> int:
    path = outbox_path(settings(args))
    if not path.exists():
        raise NothingThereError(f"there is no outbox at {path}")
    with relay_lock(path):
        if not args.force:
            check_needs_repair(path)
        report = repair(path)
    if args.json:
        print_json(asdict(report) | {"aside": str(report.aside)})
    else:
        saved = ", ".join(f"{count} {table}" for table, count in report.saved.items())
        print(f"{path} is a new file with {saved}; the former file is kept as {report.aside}")
    if report.unreadable or report.payloads_lost:
        logger.warning(
            "%d places could not be read; the payloads of %d delivered events may be lost",
            report.unreadable,
            report.payloads_lost,
        )
        return EXIT_REFUSED
    return EXIT_OK


def _force_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="even if the file is sound, or is not an outbox")


def _vacuum(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        freed = vacuum(outbox)
    print(f"{freed} bytes were returned to the disk")
    return EXIT_OK


def _named(outbox: Outbox, names: Sequence[str]) -> list[dict[str, Any]]:
    return [outbox_view.find(outbox, name) for name in names]


def _selection(args: argparse.Namespace, *, state: str | None, stored: bool | None = None) -> Selection:
    return Selection(
        state=state,
        source=args.source,
        type=args.type,
        topic=check_pattern(args.topic) if args.topic else None,
        since=_moment(args.since),
        until=_moment(args.until),
        stored=stored,
    )


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone().timestamp() if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{text!r} is not a time; write it like 2026-11-22T08:00Z") from None
