# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Webhooks: registered URLs that each event of some topics is POSTed to, signed, in order, and again on request."""
