# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse doctor`: name what keeps events from arriving, why, and the command that repairs it."""
