# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Withdraws events from the log that are no longer public: what is withdrawn, and how it is replaced."""
