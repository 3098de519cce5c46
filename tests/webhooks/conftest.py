# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Real gateways for tests of webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.web.gateway import Gateway, MakeGateway


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[MakeGateway]:
    """Make gateways, which are not started; all are ended with the test, and a failed test shows what they wrote."""
    made: list[Gateway] = []

    def make(**settings: object) -> Gateway:
        gateway = Gateway(tmp_path / f"gateway{len(made)}", **settings)  # type: ignore[arg-type]
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        gateway.close()
        print(gateway.stderr())
