# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The keys of the section `[sourcepulse]`. This does not import Mercurial, because the doctor reads it as well."""

from __future__ import annotations

from types import MappingProxyType

SECTION = b"sourcepulse"

#: Every key, with its default: True or False for a switch, a number, the permitted words with the default first, or
#: None for text without a default. The help text explains them.
KEYS = MappingProxyType(
    {
        b"outbox": None,
        b"broker": None,
        b"broker_file": None,
        b"relay": ("auto", "off"),
        b"root": None,
        b"repository": None,
        b"source": None,
        b"repo_url": None,
        b"visibility": ("auto", "public", "restricted"),
        b"publish": True,
        b"role": ("origin", "mirror"),
        b"mirrors": False,
        b"detail": ("files", "changesets", "refs"),
        b"max_changesets": 100,
        b"commits": True,
        b"on_error": ("refuse", "lose"),
        b"auto_recover": False,
        b"tree_admins": None,
        b"tree_users": None,
        b"tree_closed_words": None,
        b"tree_approval_words": None,
        b"tree_command": None,
        b"tree_unreachable": ("closed", "open"),
    }
)

#: Settings that a relay reads from its own configuration, and a relay that a push starts does not have.
RELAY_KEYS = frozenset(
    {
        b"exchange", b"restricted_broker", b"restricted_broker_file", b"restricted_exchange", b"management_url",
        b"management_url_file", b"format", b"max_event_bytes", b"schemas_dir", b"heartbeat_s", b"on_change",
        b"metrics_file", b"metrics_per_source", b"keep_days", b"keep_bytes",
    }
)  # fmt: skip
