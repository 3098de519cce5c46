# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fixtures: a real browser and real gateways. The conftest of a folder imports what its tests use, and the hook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.web.browser import Browser, Chromium, require_chromium
from support.web.gateway import Gateway, MakeGateway

_CHROMIUM = "browser"
_running: list[Chromium] = []


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End Chromium when the next test needs none: it takes a third of a GiB, and its loop would disturb asyncio's."""
    needed = isinstance(nextitem, pytest.Function) and _CHROMIUM in nextitem.fixturenames
    while _running and not needed:
        _running.pop().close()


@pytest.fixture
def browser(make_gateway: MakeGateway) -> Iterator[Browser]:
    """A browser without a past. At the end of the test there must be nothing that it complained of.

    It ends before the gateways, because a page complains when its gateway is gone.
    """
    require_chromium()
    if not _running:
        _running.append(Chromium())
    with closing(Browser(_running[0].process)) as browser:
        yield browser
        assert browser.faults() == []


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


@pytest.fixture
def gateway(make_gateway: MakeGateway) -> Gateway:
    """A started gateway over an embedded log."""
    gateway = make_gateway()
    gateway.start()
    return gateway
