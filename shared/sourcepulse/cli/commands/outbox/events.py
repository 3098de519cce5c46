# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions on single events: list, show, retry, bury, replay."""

from __future__ import annotations

import argparse
import json
import logging
from typing import Any

from sourcepulse.cli.commands.outbox.arguments import (
    Actions,
    add_names,
    add_optional_names,
    add_outbox_action,
    add_selection,
    named,
    selection,
)
from sourcepulse.cli.common import (
    add_apply,
    add_json,
    is_applied,
    open_outbox,
    positive,
    print_json,
    print_table,
    settings,
    warn_if_unrelayed,
)
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_OK, ConfigError, NothingThereError
from sourcepulse.events.safe_text import plain
from sourcepulse.outbox import queries as outbox_view
from sourcepulse.outbox.outbox import BURIED, DELIVERED, Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.queries import STATES, Selection
from sourcepulse.relay.relay import is_relayed

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


def add_event_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    add_outbox_action(actions, "list", _list, "list events, oldest first", add_selection, _list_arguments)
    add_outbox_action(actions, "show", _show, "show one event as it is sent", add_names)
    retry = "make buried events pending again; --all shows which, and does it with --apply"
    add_outbox_action(actions, "retry", _retry, retry, add_optional_names, _all_argument, add_apply, add_json)
    bury = "bury pending events, so that the relay skips them"
    add_outbox_action(actions, "bury", _bury, bury, add_names, _reason_argument, add_json)
    replay = "send delivered events again; a selection shows which, and does it with --apply"
    add_outbox_action(actions, "replay", _replay, replay, add_optional_names, add_selection, add_apply, add_json)


def _all_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every buried event")


def _reason_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default=BURY_REASON, help="the reason, shown by `list` and `show`")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="only events in this state")
    parser.add_argument("--limit", type=positive, metavar="N", help="at most N events")
    add_json(parser, "one JSON object per line (schema: outbox-list.v1)")


def _list(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        rows = outbox_view.rows(outbox, selection(args, state=args.state), limit=args.limit)
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
        rows = named(outbox, args.names) or outbox_view.rows(outbox, Selection(state=BURIED))
        if not rows:
            raise NothingThereError("no event is buried")
        if not is_applied(args, bulk=args.all):
            _print_each(args, rows, "would be pending again")
            return EXIT_OK
        for row in rows:
            outbox.retry(row["position"])
            _print_each(args, [row], "pending again")
    return EXIT_OK


def _bury(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        for row in named(outbox, args.names):
            outbox.bury(row["position"], args.reason)
            _print_each(args, [row], "buried")
    return EXIT_OK


def _replay(args: argparse.Namespace) -> int:
    chosen = selection(args, state=DELIVERED, stored=True)
    if not args.names and chosen == Selection(state=DELIVERED, stored=True):
        raise ConfigError("name the events to replay, or select them by --source, --type, --topic, --since, --until")
    config = settings(args)
    with open_outbox(config) as outbox:
        rows = named(outbox, args.names) or outbox_view.rows(outbox, chosen)
        if not rows:
            raise NothingThereError("no delivered event that is still kept matches")
        if not is_applied(args, bulk=not args.names):
            _print_each(args, rows, "would be replayed to every subscriber")
            return EXIT_OK
        for row in rows:
            request_replay(outbox, row["position"])
            _print_each(args, [row], "to be replayed")
        _log_replays(config, outbox, len(rows))
    return EXIT_OK


def _print_each(args: argparse.Namespace, rows: list[dict[str, Any]], what: str) -> None:
    for row in rows:
        if args.json:
            print_json({"id": row["id"], "position": row["position"]})
        else:
            print(f"{row['id']}  {plain(row['routing_key'])}  {what}")


def _log_replays(config: Config, outbox: Outbox, count: int) -> None:
    if is_relayed(outbox.path):
        logger.info("replays that the running relay will publish: %d", count)
    warn_if_unrelayed(config, outbox, f"replays requested: {count},")
