# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sites that the tests of the Mercurial source use."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.hg import SYSTEM_HG, VENV_HG, Program, Site, require


@pytest.fixture(params=[VENV_HG, SYSTEM_HG], ids=lambda program: program.name)
def each_site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A site with the hg of the venv, then one with Debian's."""
    program: Program = request.param
    return Site(tmp_path / "site", require(program))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with the hg of the venv."""
    return Site(tmp_path / "site", require(VENV_HG))
