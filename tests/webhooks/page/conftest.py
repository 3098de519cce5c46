# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real browser and a real gateway for tests of the pages of hooks."""

from __future__ import annotations

from support.web.fixtures import browser, gateway, make_gateway, pytest_runtest_teardown

__all__ = ["browser", "gateway", "make_gateway", "pytest_runtest_teardown"]
