# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sites that the tests of the Mercurial source use."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.hg.sites import SYSTEM_HG, VENV_HG, Program, Site, require

#: All tests of these run daily with Debian's hg, too; of other files the first one does, and `make soak` runs all.
BOTH_HGS_DAILY = frozenset(
    {
        "test_push_event.py",
        "test_crash.py",
        "test_compatibility.py",
        "test_transaction.py",
        "test_phases.py",
        "test_outbox_trouble.py",
        "test_loading.py",
        "test_modes.py",
    }
)

#: Where no process of hg begins with Mercurial's modules loaded.
FROM_NOTHING = frozenset({"test_loading.py"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of what is done a second time, with another hg, to the soak run."""
    begun = set()
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or SYSTEM_HG not in callspec.params.values() or item.path.name in BOTH_HGS_DAILY:
            continue
        if item.path in begun:
            item.add_marker(pytest.mark.soak)
        begun.add(item.path)


@pytest.fixture(autouse=True)
def _hg_starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start hg from nothing where a test is about what its start loads."""
    if request.path.name in FROM_NOTHING:
        monkeypatch.setattr(Site, "forks", False)


@pytest.fixture(params=[VENV_HG, SYSTEM_HG], ids=lambda program: program.name)
def each_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A site with the hg of the venv, then one with Debian's."""
    program: Program = request.param
    return Site(tmp_path / "site", require(program))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with the hg of the venv."""
    return Site(tmp_path / "site", require(VENV_HG))
