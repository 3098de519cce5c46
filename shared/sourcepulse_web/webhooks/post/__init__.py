# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One attempt: check the address, connect to what was checked, sign, POST, read the answer."""
