# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queues of a RabbitMQ virtual host, as its management API reports them, every five seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.network.rabbitmq import DEAD_SUFFIX
from sourcepulse.brokers.queues import QueueReport

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

_COLUMNS = (
    "name", "durable", "arguments", "effective_policy_definition", "messages", "message_bytes", "consumers",
    "head_message_timestamp", "message_stats.publish", "message_stats.ack", "message_stats.deliver_no_ack",
    "message_stats.get_no_ack", "owner_pid_details.user",
)  # fmt: skip
#: What a message that left a queue was counted as, if it was not dropped.
_TAKEN = ("ack", "deliver_no_ack", "get_no_ack")


class RabbitmqQueues:
    """The queues of the virtual host of a broker's URL."""

    def __init__(self, url: BrokerUrl, exchanges: Mapping[str, str], management: BrokerUrl) -> None:
        self._url = url
        self._exchanges = exchanges
        self._api = Management(management)

    def read(self) -> list[QueueReport]:
        """Return the queues by name; dead letters are counted at the queue that they were of."""
        try:
            return self._read()
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._api.foreign() from None

    def _read(self) -> list[QueueReport]:
        vhost = self._url.vhost
        bound = self._bindings()
        rows = {row["name"]: row for row in self._api.rows("queues", vhost, columns=_COLUMNS)}
        users = self._users()
        reports = []
        for name, row in sorted(rows.items()):
            if name.endswith(DEAD_SUFFIX) and name.removesuffix(DEAD_SUFFIX) in rows:
                continue
            dead = rows.get(name + DEAD_SUFFIX)
            reports.append(self._report(row, bound.get(name, []), users.get(name), dead))
        return reports

    def _report(
        self,
        row: Mapping[str, Any],
        bound: list[tuple[str, str]],
        user: str | None,
        dead: Mapping[str, Any] | None,
    ) -> QueueReport:
        policy, asked = row.get("effective_policy_definition") or {}, row.get("arguments") or {}
        depth = int(row.get("messages") or 0)
        published, taken = _counts(row.get("message_stats"))
        stamp = row.get("head_message_timestamp")
        owner = row.get("owner_pid_details") or {}
        return QueueReport(
            broker=str(self._url),
            name=str(row["name"]),
            durable=bool(row.get("durable")),
            streams=tuple(sorted({stream for stream, _ in bound})),
            patterns=tuple(sorted({pattern for _, pattern in bound})),
            user=user or owner.get("user"),
            consumers=int(row.get("consumers") or 0),
            depth=depth,
            limit=_lowest(policy, asked, "max-length"),
            bytes=row.get("message_bytes"),
            limit_bytes=_lowest(policy, asked, "max-length-bytes"),
            oldest_at=float(stamp) if isinstance(stamp, int) and depth else None,
            dropped=None if published is None or taken is None else max(0, published - depth - taken),
            dead=int(dead.get("messages") or 0) if dead is not None else 0,
            last_consumer_at=None,
            published=published,
            taken=taken,
        )

    def _bindings(self) -> dict[str, list[tuple[str, str]]]:
        """Return for each queue the streams and patterns that it is bound to."""
        found: dict[str, list[tuple[str, str]]] = {}
        for stream, exchange in self._exchanges.items():
            rows = self._api.find("exchanges", self._url.vhost, exchange, "bindings", "source") or []
            for row in rows:
                if row.get("destination_type") == "queue":
                    found.setdefault(row["destination"], []).append((stream, row["routing_key"]))
        return found

    def _users(self) -> dict[str, str]:
        """Return for each queue the login of a consumer."""
        rows: Iterable[Mapping[str, Any]] = self._api.get("consumers", self._url.vhost)
        return {
            row["queue"]["name"]: row["channel_details"]["user"]
            for row in rows
            if isinstance(row.get("channel_details"), dict) and row["channel_details"].get("user")
        }


def _lowest(policy: Mapping[str, Any], asked: Mapping[str, Any], name: str) -> int | None:
    """Return the limit that holds: the lowest of what policies and the queue's own arguments say."""
    limits = [value for value in (policy.get(name), asked.get(f"x-{name}")) if isinstance(value, int)]
    return min(limits, default=None)


def _counts(counts: Mapping[str, int] | None) -> tuple[int | None, int | None]:
    """Return how many messages were published and how many were taken; the difference, unless it is there, was dropped.

    RabbitMQ counts nothing dropped at a queue. Its counts begin with the node, so at most too few are found to be
    missing; while messages flow, the counts of some seconds differ.
    """
    if not counts or "publish" not in counts:
        return None, None
    return counts["publish"], sum(counts.get(name, 0) for name in _TAKEN)
