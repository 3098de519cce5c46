# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What every answer passes: guards, headers, the list of pages, and the pages of the process itself."""
