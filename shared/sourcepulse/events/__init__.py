# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event: its members, its bytes, its size limits and its routing key."""
