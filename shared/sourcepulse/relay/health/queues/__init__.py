# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a relay reports of the queues behind it: one that fills up, and one that lost events."""
