# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The part of the hook store that is in the gateway's log: a durable queue for each hook, and what was set aside."""
