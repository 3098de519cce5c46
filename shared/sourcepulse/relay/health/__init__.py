# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How a relay is: its heartbeats and status events, what it reports to systemd and to monitors."""
