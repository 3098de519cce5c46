# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a consumer remembers between two runs: numbers seen, ids handled, attempts."""
