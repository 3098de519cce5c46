# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""First copies: the files that keep events from the commit until they are in the outbox."""
