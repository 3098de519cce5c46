# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The memory of a consumer between two runs: numbers seen, ids handled, attempts."""
