# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What blocks is done in threads, so that the sender's own thread never waits for a receiver."""
