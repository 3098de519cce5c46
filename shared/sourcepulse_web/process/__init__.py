# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The process: what it serves and where, its settings, its parts started and ended together, and how it is."""
