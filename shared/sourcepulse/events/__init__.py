# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event itself: its members, its bytes, its bounds and its routing key."""
