# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The names of our configuration."""

SECTION = b"sourcepulse"
#: Every key of `[sourcepulse]`; defaults and meanings are in settings.py and in the help text.
KEYS = (
    b"outbox",
    b"broker",
    b"broker_file",
    b"relay",
    b"root",
    b"repository",
    b"source",
    b"repo_url",
    b"visibility",
    b"publish",
    b"role",
    b"mirrors",
    b"detail",
    b"max_changesets",
    b"commits",
    b"on_error",
    b"auto_recover",
    b"tree_admins",
    b"tree_users",
    b"tree_closed_words",
    b"tree_approval_words",
    b"tree_command",
    b"tree_unreachable",
)
