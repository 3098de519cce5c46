# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Look into an outbox and repair it: list, show, retry, bury, replay, rebind, check, repair."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sourcepulse.cli.common import add_settings, open_outbox, outbox_path, positive, print_json, settings
from sourcepulse.cli.lines import plain
from sourcepulse.errors import EXIT_OK, EXIT_OUTBOX, EXIT_REFUSED, ConfigError, NothingThereError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.events.topics import check_pattern
from sourcepulse.outbox import queries as outbox_view
from sourcepulse.outbox.outbox import BURIED, DELIVERED, Outbox
from sourcepulse.outbox.queries import STATES, Selection
from sourcepulse.outbox.repair import check_needs_repair, problems, repair
from sourcepulse.outbox.retention import vacuum
from sourcepulse.relay.relay import is_relayed, relay_lock

HELP = "look into an outbox and repair it"

BURY_REASON = "buried by hand"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `outbox` and its actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _action(actions, "list", _list, "list events, oldest first", _selection_arguments, _list_arguments)
    _action(actions, "show", _show, "show one event as it is sent", _names_argument)
    _action(actions, "retry", _retry, "bring buried events back", _names_or_all_argument)
    _action(actions, "bury", _bury, "set pending events aside", _names_argument, _reason_argument)
    _action(actions, "replay", _replay, "send delivered events again", _optional_names, _selection_arguments)
    _action(actions, "rebind", _rebind, "have events go to the broker that is set from now on", _stream_argument)
    _action(actions, "check", _check, "check the file and its numbers")
    _action(actions, "vacuum", _vacuum, "give the disk back what expired events took")
    _action(actions, "repair", _repair, "save what can be read of a damaged file into a new one", _force_argument)


def _stream_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", choices=(PUBLIC, RESTRICTED), help="that stream only")


def _rebind(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for stream in (args.stream,) if args.stream else (PUBLIC, RESTRICTED):
            if (former := outbox.bound_broker(stream)) is not None:
                outbox.unbind(stream)
                print(f"{stream}: so far to {plain(former)}; from now on to the broker that is set")
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
    parser = actions.add_parser(name, help=help_, description=help_)
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
    parser.add_argument("--reason", default=BURY_REASON, help="why, for those who look later")


def _selection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="URI", help="only of this source")
    parser.add_argument("--type", metavar="TYPE", help="only of this type, e.g. hg.push, or of one version, hg.push.v1")
    parser.add_argument("--topic", metavar="PATTERN", help="only with a routing key that fits, e.g. 'hg.push.#'")
    parser.add_argument("--since", metavar="TIME", help="only stored since, e.g. 2026-11-22T08:00Z")
    parser.add_argument("--until", metavar="TIME", help="only stored until")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="only in this state")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most so many")
    parser.add_argument("--json", action="store_true", help="one JSON object a line (schema: outbox-list.v1)")


def _list(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        rows = outbox_view.rows(outbox, _selection(args, state=args.state), limit=args.limit)
    for row in rows:
        if args.json:
            print_json(row)
        else:
            reason = f"  {plain(row['reason'])}" if row["reason"] else ""
            print(
                f"{row['position']:>8} {row['state']:9} {row['time']} {row['id']} {plain(row['routing_key'])}{reason}"
            )
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
        raise ConfigError("name the events to bring back, or say --all")
    with open_outbox(settings(args)) as outbox:
        rows = _named(outbox, args.names) or outbox_view.rows(outbox, Selection(state=BURIED))
        if not rows:
            raise NothingThereError("nothing is buried")
        for row in rows:
            outbox.retry(row["position"])
            print(row["id"])
    return EXIT_OK


def _bury(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for row in _named(outbox, args.names):
            outbox.bury(row["position"], args.reason)
            print(row["id"])
    return EXIT_OK


def _replay(args: argparse.Namespace) -> int:
    selection = _selection(args, state=DELIVERED, stored=True)
    if not args.names and selection == Selection(state=DELIVERED, stored=True):
        raise ConfigError("name the events to replay, or narrow them by --source, --type, --topic, --since, --until")
    with open_outbox(settings(args)) as outbox:
        rows = _named(outbox, args.names) or outbox_view.rows(outbox, selection)
        if not rows:
            raise NothingThereError("no delivered event that is still kept fits")
        for row in rows:
            outbox.request_replay(row["position"])
            print(row["id"])
        tell_of_replays(outbox, len(rows))
    return EXIT_OK


def tell_of_replays(outbox: Outbox, count: int) -> None:
    """Say what becomes of replays that were asked for."""
    if is_relayed(outbox.path):
        logger.info("%d replays wait for the relay, which runs", count)
    else:
        logger.warning(
            "%d replays wait and no relay runs: sourcepulse relay --once --outbox %s, and where to", count, outbox.path
        )


def _check(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        found = problems(outbox)
        sound = f"{outbox.path} is sound, and no number is missing"
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
    print_json(asdict(report) | {"aside": str(report.aside)})
    if report.unreadable or report.payloads_lost:
        logger.warning(
            "%d places could not be read, the payloads of %d events that were delivered may be lost; "
            "the damaged file is kept as %s",
            report.unreadable, report.payloads_lost, report.aside,
        )  # fmt: skip
        return EXIT_REFUSED
    return EXIT_OK


def _force_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="also if the file is sound, or not one of ours")


def _vacuum(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        freed = vacuum(outbox)
    print(f"{freed} bytes were given back to the disk")
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
        raise ConfigError(f"{text!r} is no time; write it like 2026-11-22T08:00Z") from None
