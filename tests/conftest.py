# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fixtures for every test: a real RabbitMQ, a real ActiveMQ, each started once by the worker that first asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from support import activemq as activemq_support
from support import rabbitmq as rabbitmq_support
from support.activemq import ActiveMqNode
from support.rabbitmq import RabbitNode


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start, also where the tests themselves run in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A started private node with the users of `support.rabbitmq`; leave it as it was found."""
    _require(rabbitmq_support.is_installed(), "RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
    # The base folder of a worker is its own, so that each has a node of its own.
    node = RabbitNode(tmp_path_factory.mktemp("rabbitmq"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A started private broker with the users of `support.rabbitmq`; leave it as it was found."""
    _require(activemq_support.is_installed(), "ActiveMQ is not installed (Debian: apt-get install activemq)")
    node = ActiveMqNode(tmp_path_factory.mktemp("activemq"))
    try:
        node.start()
        yield node
    finally:
        node.close()


def _require(installed: bool, reason: str) -> None:
    """Skip where a component is missing, but fail in CI, where a skipped test would pass unnoticed."""
    if installed:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
