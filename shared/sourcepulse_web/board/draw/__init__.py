# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is drawn of the tables: verdicts are found when a document is made, so none can be out of date."""
