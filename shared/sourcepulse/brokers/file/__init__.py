# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The embedded broker: a log and its queues in one SQLite file, without a server."""
