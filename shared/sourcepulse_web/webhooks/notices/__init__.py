# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the bus hears of hooks: events of their troubles, stored in an outbox of the sender's own and relayed."""

from sourcepulse_web.webhooks.notices.notices import Notices

__all__ = ["Notices"]
