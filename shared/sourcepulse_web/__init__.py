# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The web gateway: streams that resume, a live page, and the board of each tree."""
