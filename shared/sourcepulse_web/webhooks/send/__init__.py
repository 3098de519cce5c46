# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender: which event of which hook is next, when a failed one is tried again, and what an answer means."""
