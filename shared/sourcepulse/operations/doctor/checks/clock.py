# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The clock of this host, compared with that of the broker's host, which answers HTTP with its time."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse.brokers.management.api import Management
from sourcepulse.errors import BrokerError, ConfigError
from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, well
from sourcepulse.operations.doctor.situation import Situation

LIMIT_SECONDS = 5.0
#: The broker names whole seconds, and the answer takes its time.
APART_MAX_SECONDS = 10.0
_ABOUT = "clock"


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield the job that compares the clocks, if there is a RabbitMQ."""
    schemes = [place.url.scheme for place in situation.places.values()]
    if any(scheme != "file" and not scheme.endswith("+activemq") for scheme in schemes):
        yield Job(id="SP801", about=_ABOUT, run=lambda: _clock(situation))


def _clock(situation: Situation) -> Iterator[Finding]:
    try:
        url = situation.config.management()
    except ConfigError as error:
        yield broken("SP101", _ABOUT, str(error))
        return
    if url is None:
        why = "set management_url to the URL of RabbitMQ's management API, whose answers have the broker's time"
        yield unchecked("SP801", _ABOUT, why, counts=False)
        return
    api = Management(url, limit_s=LIMIT_SECONDS)
    refusal = ""
    before = situation.now()
    try:
        api.whoami()
    except BrokerError as error:
        # An answer that refuses us has the time, too.
        refusal = str(error)
    now = situation.now()
    if api.answered_at is None:
        yield unchecked("SP801", _ABOUT, refusal or f"{api} names no time", counts=False)
        return
    # The broker read its clock at some time of the request, and cut off the fraction of a second.
    apart_s = max(before - api.answered_at - 1, api.answered_at - now, 0.0)
    if apart_s > APART_MAX_SECONDS:
        sign = "ahead of" if now > api.answered_at else "behind"
        found = f"this clock is {apart_s:.0f} s {sign} that of {', '.join(host for host, _ in url.hosts)}"
        yield broken("SP801", _ABOUT, found)
    else:
        yield well("SP801", _ABOUT, "agrees with that of the broker")
