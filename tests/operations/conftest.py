# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fixtures for operations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers.rabbitmq import RabbitNode
from support.brokers.site import Site, site_of


@pytest.fixture
def site(rabbitmq: RabbitNode, tmp_path: Path) -> Iterator[Site]:
    """A virtual host that does not exist yet."""
    yield from site_of(rabbitmq, tmp_path, "new")
