# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relay: reads the outbox and publishes each stream to its broker."""
