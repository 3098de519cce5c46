# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions on the whole file: rebind, check, vacuum, repair."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict

from sourcepulse.cli.commands.outbox.arguments import Actions, add_outbox_action, unrelayed
from sourcepulse.cli.common import (
    add_apply,
    add_json,
    is_applied,
    open_outbox,
    outbox_path,
    print_json,
    settings,
    warn_if_unrelayed,
)
from sourcepulse.cli.progress import Progress
from sourcepulse.errors import EXIT_OK, EXIT_OUTBOX, EXIT_REFUSED, NothingThereError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.events.safe_text import plain
from sourcepulse.outbox.delivery_state import bound_broker, unbind_broker
from sourcepulse.outbox.repair import check_needs_repair, problems, repair
from sourcepulse.outbox.retention import reclaimable, vacuum
from sourcepulse.relay.on_demand import forget_failed_start

logger = logging.getLogger(__name__)


def add_file_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    add_outbox_action(actions, "rebind", _rebind, "accept that the broker has changed", _stream_argument)
    add_outbox_action(actions, "check", _check, "check the file and its numbers")
    vacuum = "return the space of expired events to the disk; shows how much, and does it with --apply"
    add_outbox_action(actions, "vacuum", _vacuum, vacuum, add_apply)
    repair = "copy everything readable in a damaged file into a new one; shows what is wrong, and does it with --apply"
    add_outbox_action(actions, "repair", _repair, repair, _force_argument, add_apply, add_json)


def _stream_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stream", choices=(PUBLIC, RESTRICTED), help="only this stream")


def _rebind(args: argparse.Namespace) -> int:
    config = settings(args)
    with open_outbox(config) as outbox:
        for stream in (args.stream,) if args.stream else (PUBLIC, RESTRICTED):
            if (former := bound_broker(outbox, stream)) is not None:
                unbind_broker(outbox, stream)
                forget_failed_start(str(outbox.path))
                print(f"{stream}: went to {plain(former)}; goes to the configured broker from now on")
        warn_if_unrelayed(config, outbox, "the events go there with the next relay,")
    return EXIT_OK


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
    with unrelayed(path):
        found = [] if args.force else check_needs_repair(path)
        if not is_applied(args):
            for problem in found:
                print(problem)
            print(
                f"everything readable in {path} would be copied into a new file with a new epoch, which consumers see "
                "as a reset; this one would be kept beside it"
            )
            return EXIT_OK
        with Progress("copying") as progress:
            report = repair(path, progress=progress)
    if args.json:
        print_json(asdict(report) | {"aside": str(report.aside)})
    else:
        saved = ", ".join(f"{count} {table}" for table, count in report.saved.items())
        print(f"{path} is a new file with {saved}; the former file is kept as {report.aside}")
    if report.unreadable or report.payloads_lost:
        logger.warning(
            "%d places could not be read: whole events may be lost, and the payloads of %d delivered ones",
            report.unreadable,
            report.payloads_lost,
        )
        return EXIT_REFUSED
    return EXIT_OK


def _force_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="even if the file is sound, or is not an outbox")


def _vacuum(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox:
        if not is_applied(args):
            print(f"at least {reclaimable(outbox)} bytes would be returned to the disk; writers would wait meanwhile")
            return EXIT_OK
        freed = vacuum(outbox)
    print(f"{freed} bytes were returned to the disk")
    return EXIT_OK
