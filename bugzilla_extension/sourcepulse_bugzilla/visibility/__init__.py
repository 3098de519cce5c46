# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Ask Bugzilla whether an event is public now, before it is published."""
