# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pages: each module or folder answers one address, and draws what the board and the log know."""
