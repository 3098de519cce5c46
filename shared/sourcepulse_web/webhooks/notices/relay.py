# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relay of the events about hooks, in a thread of the sender: what it may do, and why it cannot.

It publishes no heartbeats and no status events. Pages and consumers know a relay by `system://HOST`, which is also the
source of the other relays of the machine: the beats of this one would hide that another one has died. That it cannot
send is named by the sender, where an admin looks for webhooks.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from sourcepulse.config import Config, load
from sourcepulse.errors import (
    BrokerRefusedUsError,
    DestinationError,
    NothingThereError,
    OutboxReplacedError,
    SourcePulseError,
)
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.delivery_state import bound_broker, last_reason, unbind_broker
from sourcepulse.outbox.outbox import BURIED, Outbox
from sourcepulse.outbox.queries import Selection, count_buried, rows
from sourcepulse.relay.thread import RETRY_SECONDS, RelayThread

#: How often what the broker refused is sent again, because an admin may have corrected the rights meanwhile.
BURIED_AGAIN_SECONDS = 300.0
BURIED_AGAIN_MAX = 100
#: A warning of the relay holds for as long: it is repeated at each of its starts.
WARNING_SECONDS = 3 * RETRY_SECONDS
NOT_SENT = "events about webhooks are not sent"
GRANT = (
    "publish with a login of its own, which may write to the exchange under ^system\\.webhook\\. : run "
    "`sourcepulse setup-broker` with --user webhook-publisher=webhooks, and name its file as broker_file in [webhooks]"
)

logger = logging.getLogger(__name__)


class NoticeRelay:
    """Relays one outbox until stopped; what it needs of the settings is read again while it cannot begin."""

    def __init__(
        self, outbox: Path, config: Config, broker_file: Path | None, *, again_s: float = BURIED_AGAIN_SECONDS
    ) -> None:
        self._path = outbox
        self._config = config
        self._broker_file = broker_file
        self._thread: RelayThread | None = None
        self._warning = ""
        self._warned_at = 0.0
        self._again_s = again_s
        self._again_at = time.monotonic() + again_s

    def look(self, outbox: Outbox) -> str:
        """Begin if need be, and return why events are not sent, with the repair; "" if they are."""
        if self._thread is None:
            try:
                settings = relay_settings(self._config, self._broker_file)
            except SourcePulseError as error:
                return f"{NOT_SENT}: {error}"
            self._thread = RelayThread(self._path, settings, warn=self._warn, rebind=True)
            self._thread.start()
        trouble, reason = _trouble(outbox)
        if reason == DestinationError.reason and bound_broker(outbox, PUBLIC) is not None:
            # These events may go wherever the settings lead: the admin need not confirm that the broker is another one.
            unbind_broker(outbox, PUBLIC)
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + self._again_s
            _send_buried_again(outbox)
        if self._warning and time.monotonic() - self._warned_at < WARNING_SECONDS:
            return f"{NOT_SENT}: {self._warning}"
        return f"{trouble}; {GRANT}" if reason == BrokerRefusedUsError.reason and self._has_logins() else trouble

    def stop(self) -> None:
        """End it, within the limit of a RelayThread."""
        if self._thread is not None:
            self._thread.stop()

    def _has_logins(self) -> bool:
        """Return whether the broker is one that grants rights to logins; at a log files decide."""
        try:
            broker = relay_settings(self._config, self._broker_file).broker()
        except SourcePulseError:
            return False
        return broker is not None and broker.scheme != "file"

    def _warn(self, sentence: str) -> None:
        if sentence != self._warning:
            logger.warning("of the events about webhooks: %s", sentence)
        self._warning, self._warned_at = sentence, time.monotonic()


def relay_settings(config: Config, broker_file: Path | None) -> Config:
    """Return the settings of this relay: public events only, and nothing that is of another relay of the machine.

    With `broker_file` its URL takes the place of the broker. ConfigError if that file cannot be read.
    """
    if broker_file is not None and config.origin is not None:
        given = {key: value for key, value in config.origin.arguments.items() if key not in ("broker", "broker_file")}
        config = load(**config.origin._replace(arguments={**given, "broker_file": str(broker_file)})._asdict())
    else:
        config = config.again()
    none = dict.fromkeys(("restricted_broker", "restricted_broker_file", "on_change", "metrics_file"))
    return replace(config, values={**config.values, **none, "heartbeat_s": 0})


def _trouble(outbox: Outbox) -> tuple[str, str | None]:
    """Return why events are not sent, and the word for it; "" if they are."""
    trouble = outbox.trouble(PUBLIC)
    with outbox.reading() as db:
        reason, buried = last_reason(db, PUBLIC), count_buried(db, PUBLIC)
    if trouble is not None:
        sentence = f"events about webhooks that wait to be sent: {trouble.waiting}, because {trouble.error}"
        return sentence, reason
    if buried:
        refused = rows(outbox, Selection(state=BURIED), limit=1)
        why = str(refused[0]["reason"]) if refused else "the broker refused them"
        sentence = f"events about webhooks that were refused and are sent again later: {buried}, because {why}"
        return sentence, BrokerRefusedUsError.reason
    return "", None


def _send_buried_again(outbox: Outbox) -> None:
    for row in rows(outbox, Selection(state=BURIED), limit=BURIED_AGAIN_MAX):
        try:
            outbox.retry(row["position"])
        except OutboxReplacedError:
            raise
        except NothingThereError:
            # It was sent, or removed, meanwhile.
            continue
