# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Buildbot source of sourcepulse: a reporter for master.cfg and a step that stores test results; see `reporter`."""
