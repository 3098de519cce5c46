# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Bugzilla source of sourcepulse: makes events of the rows that the extension writes, and relays them."""
