# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fetch first copies into the outbox, from one repository or from all that the outbox knows."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from sourcepulse.cli.common import add_json, add_settings, open_outbox, print_json, settings
from sourcepulse.errors import EXIT_FAILURE, EXIT_OK
from sourcepulse.events.safe_text import plain
from sourcepulse.relay.collect import CollectReport, collect_place, collectors, outbox_of, sweep

HELP = "fetch first copies into the outbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `collect`."""
    add_settings(parser, "outbox")
    parser.add_argument(
        "place", nargs="?", metavar="REPO", help="a repository; default: every one that the outbox knows"
    )
    parser.add_argument("--kind", default="hg", help="kind of source (default: hg)")
    add_json(parser, "one JSON object")


def run(args: argparse.Namespace) -> int:
    """Collect and print a report; exit code 1 if a first copy was left or quarantined."""
    config = settings(args)
    if args.place and (config.text("outbox") is None or config.is_from_default_file("outbox")):
        # The repository's own hook stores into the outbox of its configuration; any other would be a second outbox.
        config = replace(config, values={**config.values, "outbox": str(outbox_of(args.kind, args.place))}, layers={})
    with open_outbox(config, create=bool(args.place)) as outbox:
        if not args.place:
            collected = sweep(outbox, collectors())
            print_json({"collected": collected}) if args.json else print(_sentence(CollectReport(collected=collected)))
            return EXIT_OK
        report = collect_place(outbox, collectors(), args.kind, args.place)
    print_json(asdict(report)) if args.json else print(_sentence(report))
    return EXIT_FAILURE if report.quarantined or report.left else EXIT_OK


def _sentence(report: CollectReport) -> str:
    parts = [f"{report.collected} events were stored"]
    if report.repeats:
        parts.append(f"{report.repeats} were there already")
    if report.undecided:
        parts.append(f"{report.undecided} first copies belong to a transaction that is in progress or was abandoned")
    if report.left:
        parts.append(f"{report.left} first copies were not reached in time: run it again")
    if report.quarantined:
        parts.append(f"quarantined: {', '.join(map(plain, report.quarantined))}")
    return "; ".join(parts)
