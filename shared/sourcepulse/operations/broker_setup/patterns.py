# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""RabbitMQ's regular expressions, which it searches for in a name; what Python cannot compile is taken to match."""

from __future__ import annotations

import re


def applies(pattern: str, name: str) -> bool:
    """Return whether the pattern of a policy matches a name."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True


def allows(pattern: str, name: str) -> bool:
    """Return whether a right includes a name; an empty right includes none."""
    return bool(pattern) and applies(pattern, name)
