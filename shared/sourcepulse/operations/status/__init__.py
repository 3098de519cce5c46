# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse status` prints: the state of an outbox and its relay, judged, for people and for monitors."""
