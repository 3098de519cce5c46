# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Order by the numbers in events: what can be checked, what came early, what is missing."""
