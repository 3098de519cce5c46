# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/hooks`: for the operator the durable queues of the log."""

from __future__ import annotations

from sourcepulse_web.pages.hooks.queues import resource

__all__ = ["resource"]
