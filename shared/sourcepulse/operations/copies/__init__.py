# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Copies of an outbox: a backup and its restoration, events as lines of JSON."""
