# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a consumer notices although nothing comes: sources that fell silent, and last events that were lost."""
