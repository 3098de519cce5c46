# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: the file that keeps every event until the broker has confirmed it, and for a while after that."""
