# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What Mercurial has to know of the extension when it starts: its configuration items and its command."""

from __future__ import annotations

from typing import Any

from mercurial import registrar

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
    b"detail",
    b"max_changesets",
    b"commits",
    b"on_error",
)

configtable: dict[bytes, Any] = {}
_configitem = registrar.configitem(configtable)
for _key in KEYS:
    _configitem(b"sourcepulse", _key, default=None)

cmdtable: dict[bytes, Any] = {}
_command = registrar.command(cmdtable)


@_command(  # type: ignore[untyped-decorator] # mercurial has no types
    b"sourcepulse-recover", [], b"", helpcategory=registrar.command.CATEGORY_MAINTENANCE
)
def recover(ui: Any, repo: Any) -> int:
    """move events that a crash left behind to the outbox

    After a crash the events of committed transactions wait in the repository. The next push collects them,
    and so does a running relay; this command does it now and tells what it found.

    Returns 0 if nothing is left, 1 if something needs attention.
    """
    from sourcepulse_hg.recover import recover_now

    return recover_now(ui, repo)
