# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board: what the events of a log say of trees, pushes, builds, failing tests and bugs."""
