# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The commands: `hg sourcepulse-*`, `hg treestatus`, `sourcepulse demo` and `sourcepulse hg-path`."""
