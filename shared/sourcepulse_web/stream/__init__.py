# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Streams of the log to browsers and programs: filters, frames, and the hub that sends what is appended."""
