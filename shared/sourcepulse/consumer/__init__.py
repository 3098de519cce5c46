# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consumer: receives events, acknowledges them, and reports gaps."""
