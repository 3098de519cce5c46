# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a user types: `hg sourcepulse-*`, `sourcepulse demo`, `sourcepulse hg-path`."""
