# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The desk: what users and admins do with hooks, the same for the command and for the pages."""
