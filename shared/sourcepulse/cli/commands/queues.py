# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""List the queues of a broker: whose they are, how full, how old their oldest event, and what they lost.

It changes and removes nothing. The embedded log shows all; RabbitMQ needs management_url; ActiveMQ shows nothing.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from typing import Any

from sourcepulse.brokers.queues import QueueReport, Queues, open_queues
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.common import add_json, add_settings, print_json, print_table, required_broker, settings
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_OK, BrokerError, NothingThereError, SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse.events.safe_text import plain

HELP = "list the queues of a broker with owner, depth, limit and what they lost"

_HEADER = (
    "NAME", "OWNER", "DEPTH", "LIMIT", "FULL", "OLDEST", "DROPPED", "WITHDRAWN", "DEAD", "CONSUMERS", "LAST CONSUMER",
    "PATTERNS",
)  # fmt: skip
_UNKNOWN = "?"
_NONE = "-"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `queues`."""
    add_settings(
        parser, "broker", "broker_file", "exchange", "restricted_broker", "restricted_broker_file",
        "restricted_exchange", "management_url", "management_url_file",
    )  # fmt: skip
    parser.add_argument("--owner", metavar="NAME", help="only the queues of this owner")
    add_json(parser, "one JSON object per line (schema: queues.v1)")


def run(args: argparse.Namespace) -> int:
    """Print a line per queue; of a restricted broker that cannot be seen, the reason is logged."""
    config = settings(args)
    reports = [report for report in _read(config) if args.owner is None or args.owner in (report.owner, report.user)]
    if args.json:
        for report in reports:
            print_json(_as_json(report))
        return EXIT_OK
    if not reports:
        print("no queue" if args.owner is None else f"no queue of {plain(args.owner)}")
    now = time.time()
    print_table(_HEADER, [_line(report, now) for report in reports])
    return EXIT_OK


def _read(config: Config) -> Iterator[QueueReport]:
    management = config.management()
    exchanges = {"public": config.require("exchange"), "restricted": config.require("restricted_exchange")}
    public = required_broker(config)
    yield from open_queues(public, exchanges, management).read()
    restricted = config.broker("restricted_")
    if restricted is None or _place(restricted) == _place(public):
        # One virtual host has both exchanges, and its queues are above.
        return
    try:
        other: Queues = open_queues(restricted, exchanges, management if _hosts(restricted) == _hosts(public) else None)
        yield from other.read()
    except (NothingThereError, BrokerError) as error:
        logger.warning("%s", error)
    except SourcePulseError as error:
        logger.warning("restricted events: %s", error)


def _place(url: BrokerUrl) -> tuple[set[str], str, str]:
    return _hosts(url), url.vhost, url.path


def _hosts(url: BrokerUrl) -> set[str]:
    # A port is that of a protocol.
    return {host for host, _ in url.hosts}


def _as_json(report: QueueReport) -> dict[str, Any]:
    return {
        "broker": report.broker,
        "name": report.name,
        "owner": report.owner,
        "user": report.user,
        "durable": report.durable,
        "streams": report.streams,
        "patterns": report.patterns,
        "consumers": report.consumers,
        "depth": report.depth,
        "limit": report.limit,
        "bytes": report.bytes,
        "limit_bytes": report.limit_bytes,
        "oldest_at": _moment(report.oldest_at),
        "dropped": report.dropped,
        "withdrawn": report.withdrawn,
        "dead": report.dead,
        "last_consumer_at": _moment(report.last_consumer_at),
    }


def _line(report: QueueReport, now: float) -> tuple[str, ...]:
    filled = report.filled
    consumed = "now" if report.consumers else _ago(report.last_consumer_at, now, _UNKNOWN)
    return (
        report.name,
        report.owner or _UNKNOWN,
        str(report.depth),
        _figure(report.limit, _NONE),
        _NONE if filled is None else f"{filled:.0%}",
        _ago(report.oldest_at, now, _UNKNOWN if report.depth else _NONE),
        _dropped(report),
        _figure(report.withdrawn, _NONE),
        _figure(report.dead, _UNKNOWN),
        str(report.consumers),
        consumed,
        ",".join(report.patterns) or _NONE,
    )


def _figure(value: int | None, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _dropped(report: QueueReport) -> str:
    # RabbitMQ's is computed from counts that lag some seconds behind.
    about = "" if report.broker.startswith("file:") or not report.dropped else "~"
    return about + _figure(report.dropped, _UNKNOWN)


def _ago(moment: float | None, now: float, otherwise: str) -> str:
    if moment is None:
        return otherwise
    age = max(0, int(now - moment))
    return next((f"{age // unit} {name}" for unit, name in _UNITS if age >= unit), f"{age} s")


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)
