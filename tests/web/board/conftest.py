# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.web.board_events import Site
from support.web.board_log import BoardLog


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[BoardLog]:
    opened = BoardLog(tmp_path)
    yield opened
    opened.close()
