# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Buildbot source of sourcepulse: the place is kept, nothing is published from here yet."""
