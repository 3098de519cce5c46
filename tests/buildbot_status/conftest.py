# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Real masters for the tests of the reporter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.buildbot.masters import MakeMaster, Master, require_buildbot, shared_template


@pytest.fixture(scope="session")
def master_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a master that never ran."""
    require_buildbot()
    return shared_template(tmp_path_factory)


@pytest.fixture
def make_master(master_template: Path, tmp_path: Path) -> Iterator[MakeMaster]:
    """Make masters; all are ended with the test."""
    made: list[Master] = []

    def make(config: str, *, workers: int = 1) -> Master:
        master = Master(master_template, tmp_path / f"master{len(made)}", config, workers=workers)
        made.append(master)
        return master

    yield make
    for master in made:
        master.close()
