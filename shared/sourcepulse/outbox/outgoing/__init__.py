# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What leaves an outbox a second time, and the check that everything passes right before it leaves."""
