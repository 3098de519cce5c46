# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One gateway for the tests of a file; each test sees what it appended itself, behind a filter of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.web.gateway import Gateway

CONFIGURATION = """
[trees.inbound]
repository = "integration/inbound"
bugzilla = "https://bugs.example.org"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A started gateway over an embedded log, with one tree in its settings."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), configuration=CONFIGURATION)
    gateway.start()
    yield gateway
    gateway.close()
    print(gateway.stderr())
