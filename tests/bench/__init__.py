# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Measurements against a peer in the same run; `make bench` runs them all."""
