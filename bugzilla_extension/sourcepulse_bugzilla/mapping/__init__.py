# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map rows of Bugzilla's outbox table to events; pure functions."""
