# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Real gateways for tests of webhooks."""

from support.web.fixtures import make_gateway

__all__ = ["make_gateway"]
