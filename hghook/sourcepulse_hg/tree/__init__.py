# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The state of a tree: open, closed, or open to approved pushes only."""
