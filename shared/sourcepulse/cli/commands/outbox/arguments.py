# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The arguments that actions of `outbox` share: names of events, a selection, `--apply`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sourcepulse.cli.common import add_action, add_settings
from sourcepulse.errors import ConfigError, RelayRunningError
from sourcepulse.events.topics import check_pattern
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, find
from sourcepulse.relay.relay import relay_lock

#: argparse has no public name for it.
Actions = argparse._SubParsersAction


def add_outbox_action(
    actions: Actions[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    help_: str,
    *extend: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add an action with `--outbox` and what each of `extend` adds."""
    parser = add_action(actions, name, help_)
    add_settings(parser, "outbox")
    for add in extend:
        add(parser)
    parser.set_defaults(action=action)


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add the names of one or more events."""
    parser.add_argument("names", nargs="+", metavar="EVENT", help="an id, the beginning of one, or a position")


def add_optional_names(parser: argparse.ArgumentParser) -> None:
    """Add the names of any number of events."""
    parser.add_argument("names", nargs="*", metavar="EVENT", help="an id, the beginning of one, or a position")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that narrow a selection of events."""
    parser.add_argument("--source", metavar="URI", help="only events of this source")
    parser.add_argument(
        "--type", metavar="TYPE", help="only events of this type, e.g. hg.push, or hg.push.v1 for one version"
    )
    parser.add_argument("--topic", metavar="PATTERN", help="only events whose routing key matches, e.g. 'hg.push.#'")
    parser.add_argument("--since", metavar="TIME", help="only events stored since then, e.g. 2026-11-22T08:00Z")
    parser.add_argument("--until", metavar="TIME", help="only events stored until then")


@contextmanager
def unrelayed(path: Path) -> Iterator[None]:
    """Keep every relay from an outbox; RelayRunningError, with what to do, if one serves it."""
    try:
        with relay_lock(path):
            yield
    except RelayRunningError as error:
        raise RelayRunningError(
            f"{error}; stop the relay first (one that a push started ends by itself when it is without work)"
        ) from None


def named(outbox: Outbox, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the events with these names; NothingThereError for one that does not exist."""
    return [find(outbox, name) for name in names]


def selection(args: argparse.Namespace, *, state: str | None, stored: bool | None = None) -> Selection:
    """Return the selection that the arguments name."""
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
