# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The Perl process `drain.pl`, which acts for Bugzilla."""
