# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check whether events would reach the broker with these settings: outbox, brokers, relay. Publishes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from sourcepulse.brokers.probe import probe
from sourcepulse.cli.common import add_json, add_settings, open_outbox, print_json, settings
from sourcepulse.cli.findings import Finding
from sourcepulse.config import DEFAULT_FILES, Config
from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, ConfigError, SourcePulseError
from sourcepulse.relay.destination import STREAMS, places_of
from sourcepulse.relay.on_demand import START_SECONDS, failed_start, is_on_demand
from sourcepulse.relay.relay import is_relayed
from sourcepulse.relay.streams import Place

HELP = "check whether events would reach the broker; publish nothing"

#: Every relay may publish under this key, except one whose permissions cover a single family.
DEFAULT_KEY = "system.relay.check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    add_settings(
        parser, "outbox", "broker", "broker_file", "exchange",
        "restricted_broker", "restricted_broker_file", "restricted_exchange",
    )  # fmt: skip
    parser.add_argument(
        "--key", default=DEFAULT_KEY, help=f"a routing key that the events will have (default: {DEFAULT_KEY})"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per part; exit code 1 if any of them keeps events from being published."""
    config = settings(args)
    if config.text("outbox") is None and not places_of(config):
        raise ConfigError(
            "nothing to check is set: use --outbox FILE and --broker-file FILE, or set outbox and broker_file in "
            f"{DEFAULT_FILES}; in a repository run `hg sourcepulse-check`"
        )
    findings = list(_findings(config, args.key))
    for finding in findings:
        if args.json:
            print_json(finding._asdict())
        else:
            print(finding.line())
    return EXIT_OK if all(finding.well for finding in findings) else EXIT_FAILURE


def _findings(config: Config, key: str) -> Iterator[Finding]:
    places = places_of(config)
    if config.text("outbox") is not None:
        yield from _of_outbox(config, places)
    if not places:
        yield Finding("public broker", "not set: events stay in the outbox", well=False)
    for stream, _ in STREAMS:
        if (place := places.get(stream)) is not None:
            what = f"{stream} broker"
            try:
                yield Finding(what, f"{place.url}: {probe(place.url, place.exchange, key)}")
            except (SourcePulseError, OSError) as error:
                yield Finding(what, f"{place.url}: {error}", well=False)


def _of_outbox(config: Config, places: Mapping[str, Place]) -> Iterator[Finding]:
    try:
        with open_outbox(config) as outbox:
            with outbox.writing(durable=False):
                pass
            yield Finding("outbox", f"{outbox.path} can be written to")
            for stream, _ in STREAMS:
                if (trouble := outbox.trouble(stream)) is not None:
                    yield Finding(f"{stream} events", f"{trouble.waiting} pending: {trouble.error}", well=False)
                former, place = outbox.bound_broker(stream), places.get(stream)
                if former is not None and place is not None and former != str(place):
                    yield Finding(
                        f"{stream} broker",
                        f"events went to {former} before; they stay pending until you run "
                        f"`sourcepulse outbox rebind --outbox {outbox.path}`",
                        well=False,
                    )
            failed = failed_start(str(outbox.path), older_than_s=START_SECONDS, now=outbox.now())
            if is_relayed(outbox.path):
                yield Finding("relay", "running")
            elif failed is not None:
                yield Finding("relay", f"the last one failed to start: {failed}", well=False)
            elif is_on_demand(str(outbox.path)):
                yield Finding("relay", "not running; a push starts it")
            else:
                yield Finding("relay", "not running: `sourcepulse relay` publishes what is pending", well=False)
    except (SourcePulseError, OSError) as error:
        yield Finding("outbox", str(error), well=False)
