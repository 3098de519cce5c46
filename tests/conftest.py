# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fixtures for every test: a real RabbitMQ, a real ActiveMQ, each started once by the worker that first asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.brokers.activemq import ActiveMqNode, require_activemq
from support.brokers.rabbitmq import RabbitNode, require_rabbitmq
from support.hg.quick_hg import quick_hgs

#: A worker runs a file as a whole, so these come first: begun last they would be waited for alone.
SLOWEST_FILES = (
    "faults/test_broker_away.py",
    "hghook/test_tree_status.py",
    "faults/test_stream_through_faults.py",
    "hghook/test_strip.py",
    "hghook/test_push_event.py",
    "hghook/test_crash.py",
    "hghook/test_hook_mark.py",
    "hghook/test_compatibility.py",
    "hghook/test_heads.py",
    "buildbot_status/test_odd_masters.py",
    "buildbot_status/test_killed_master.py",
    "buildbot_status/test_missed_messages.py",
    "brokers/conformance/test_restart.py",
    "brokers/test_amqp_faults.py",
    "brokers/test_pushes_arrive.py",
    "brokers/test_time_limits.py",
    "hghook/test_outbox_trouble.py",
    "hghook/test_loading.py",
    "brokers/test_stomp_secrets.py",
    "brokers/test_stomp_refused_messages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    order = {f"tests/{name}": place for place, name in enumerate(SLOWEST_FILES)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also where the tests themselves run in the background.

    No configuration file of this machine or user changes what a command does.
    """
    os.environ["SOURCEPULSE_CONFIG"] = ""
    # hypothesis fails an example that takes more than 200 ms, which on a loaded machine any may.
    settings.register_profile("without a stopwatch", deadline=None)
    settings.load_profile("without a stopwatch")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _quick_hgs_end() -> Iterator[None]:
    yield
    quick_hgs().close()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A started private node with the users of `support.brokers.rabbitmq`; leave it as it was found."""
    require_rabbitmq()
    # The base folder of a worker is its own, so that each has a node of its own.
    node = RabbitNode(tmp_path_factory.mktemp("rabbitmq"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A started private broker with the users of `support.brokers.rabbitmq`; leave it as it was found."""
    require_activemq()
    node = ActiveMqNode(tmp_path_factory.mktemp("activemq"))
    try:
        node.start()
        yield node
    finally:
        node.close()
