# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Admins, strangers, networks and power cuts together, on each broker: no event is lost without a report.

CHAOS_EVENTS, CHAOS_FAULTS and CHAOS_SEED make a run short, or repeat one.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.streams.chaos_run import run_chaos
from support.streams.chaos_sites import ActiveMqSite, FileSite, RabbitSite, Site

EVENTS = int(os.environ.get("CHAOS_EVENTS", "20000"))
FAULTS = int(os.environ.get("CHAOS_FAULTS", "44"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@pytest.fixture(params=["amqp", "stomp-rabbitmq", "stomp-activemq", "file"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Each broker, to be hurt."""
    match request.param:
        case "amqp" | "stomp-rabbitmq":
            yield RabbitSite(request.getfixturevalue("rabbit"), stomp=request.param != "amqp")
        case "stomp-activemq":
            yield ActiveMqSite(request.getfixturevalue("active"))
        case _:
            yield FileSite(tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_event_is_lost_without_a_report_whatever_happens_to_its_broker(site: Site, tmp_path: Path) -> None:
    judged = run_chaos(tmp_path, site, events=EVENTS, faults=FAULTS, seed=SEED)
    assert judged.events >= EVENTS
    assert judged.handled > EVENTS // 3
