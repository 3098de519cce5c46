# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bridge: one durable subscription, appended to the log of the gateway."""
