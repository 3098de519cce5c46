# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A bare Debian for each page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers.rabbitmq import READER, RELAY, RabbitNode
from support.installation.bare_root import BareRoot, require_root


@pytest.fixture(scope="module")
def machine(rabbitmq: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareRoot]:
    """A bare Debian; the logins of the page are those of a real broker."""
    require_root()
    values = {
        "amqps://relay:password@broker.example.org/sourcepulse": rabbitmq.url(RELAY),
        "amqps://reader:password@broker.example.org/sourcepulse": rabbitmq.url(READER),
    }
    root = BareRoot(tmp_path_factory.mktemp("bare") / "root", values)
    yield root
    root.close()
