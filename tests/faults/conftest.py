# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Brokers that may be killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers.activemq import ActiveMqNode, require_activemq
from support.brokers.rabbitmq import RabbitNode, require_rabbitmq


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node of the tests of one file alone."""
    require_rabbitmq()
    own = RabbitNode(tmp_path_factory.mktemp("rabbit"))
    try:
        own.start()
        yield own
    finally:
        own.close()


@pytest.fixture(scope="module")
def active(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A broker of the tests of one file alone."""
    require_activemq()
    own = ActiveMqNode(tmp_path_factory.mktemp("active"))
    try:
        own.start()
        yield own
    finally:
        own.close()
