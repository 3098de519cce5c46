# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Datagrams that wake a process when there is something to read; only hints, because it also polls."""
