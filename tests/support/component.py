# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a test does where something is not installed."""

from __future__ import annotations

import os

import pytest


def require(installed: bool, reason: str) -> None:
    """Skip where a component is missing, but fail in CI, where a skipped test would pass unnoticed."""
    if installed:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
