# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions of `sourcepulse webhook`, on the store of the gateway of this machine."""
