# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The `changegroup` hook, for servers that allow hooks but no extensions."""
