# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The connections of a hub: what each was sent, who is level, and who catches up."""
