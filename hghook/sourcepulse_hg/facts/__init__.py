# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What happened in a repository, as plain values that need no Mercurial object."""
