# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is kept of hooks: their settings, secrets and attempts in a private file, their events in the log."""
