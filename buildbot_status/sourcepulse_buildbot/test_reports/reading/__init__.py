# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fetch reports and read them, the large ones in a process of their own."""
