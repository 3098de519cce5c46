# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a relay does beside delivery: it may fail or hang, and delivery goes on."""
