# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg treestatus`: show the state of the tree, or set it in a transaction of its own."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from mercurial import error
from mercurial.utils import dateutil

from sourcepulse_hg.facts import acting_user
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.tree.gate import current_state
from sourcepulse_hg.tree.state import (
    APPROVAL,
    CLOSED,
    OPEN,
    REASON_MAX_CHARACTERS,
    TreeChange,
    TreeState,
    TreeStateError,
    is_listed,
    read_tree_settings,
)
from sourcepulse_hg.tree.store import note_change, read_state

TRANSACTION = b"treestatus"


def tree_status(ui: Any, repo: Any, opts: dict[str, Any]) -> int:
    """Run `hg treestatus`; raises error.InputError or error.StateError."""
    wanted = _wanted(opts)
    settings = read_tree_settings(ui)
    Messages(ui).warn_all(settings.problems)
    repo = repo.unfiltered()
    if wanted is not None:
        if settings.command is not None:
            raise error.StateError(
                b"the state of this tree comes from a service, see tree_command in [sourcepulse]",
                hint=b"set the state in that service",
            )
        user = acting_user(ui.environ, None)
        name = None if user is None else user.decode("utf-8", "replace")
        if not is_listed(name, settings.admins):
            raise error.StateError(
                b"%s may not set the state of this tree" % (user or b"an anonymous user"),
                hint=b"the admin lists the permitted users in tree_admins in [sourcepulse]",
            )
        _set(repo, wanted._replace(user=name))
    elif settings.command is None:
        _notice_reopening(repo)
    _show(ui, repo, opts)
    return 0


def _wanted(opts: dict[str, Any]) -> TreeState | None:
    given = [
        (state, opts[name]) for name, state in (("close", CLOSED), ("approval", APPROVAL), ("open", OPEN)) if opts[name]
    ]
    if len(given) > 1:
        raise error.InputError(b"only one of --close, --approval and --open can be used")
    if not given:
        if opts["until"]:
            raise error.InputError(b"--until requires --close or --approval")
        return None
    ((state, reason),) = given
    until = None
    if opts["until"]:
        if state == OPEN:
            raise error.InputError(b"--until requires --close or --approval")
        until = float(dateutil.parsedate(opts["until"])[0])
        if until <= time.time():
            raise error.InputError(b"--until must be a time in the future, see 'hg help dates'")
    return TreeState(state, _reason(reason), until, None, time.time())


def _reason(given: bytes | bool) -> str | None:
    if isinstance(given, bool):
        return None
    text = given.decode("utf-8", "replace").strip()
    if len(text) > REASON_MAX_CHARACTERS:
        raise error.InputError(b"a reason has at most %d characters" % REASON_MAX_CHARACTERS)
    return text or None


def _set(repo: Any, wanted: TreeState) -> None:
    with repo.lock():
        try:
            stored: TreeState | None = read_state(repo)
        except TreeStateError:
            # Setting the state repairs a damaged file.
            stored = None
        before = None if stored is None else stored.at(wanted.since)
        if before is not None and before[:3] == wanted[:3]:
            return
        with repo.transaction(TRANSACTION) as tr:
            note_change(tr, TreeChange(None if before is None else before.state, wanted))


def _notice_reopening(repo: Any) -> None:
    """Publish a scheduled reopening that is due; a user who may not write here leaves that to the next push."""
    now = time.time()
    with suppress(TreeStateError, OSError, error.LockError, error.Abort):
        if read_state(repo).at(now) == read_state(repo):
            return
        with repo.lock(wait=False):
            stored = read_state(repo)
            if stored.at(now) != stored:
                with repo.transaction(TRANSACTION) as tr:
                    note_change(tr, TreeChange(stored.state, stored.at(now)))


def _show(ui: Any, repo: Any, opts: dict[str, Any]) -> None:
    try:
        state = current_state(repo, read_tree_settings(ui), time.time())
    except TreeStateError as problem:
        raise error.StateError(
            b"the state of this tree is damaged: %s" % str(problem).encode("utf-8", "replace"),
            hint=b"the tree is treated as closed; set its state with --open, --close or --approval",
        ) from problem
    with ui.formatter(b"treestatus", {b"template": opts["template"]}) as shown:
        shown.startitem()
        shown.write(b"state", b"%s", state.state.encode("ascii"))
        _write(shown, b"reason", b": %s", state.reason)
        _write(shown, b"user", b" (%s)", state.user)
        if state.until is None:
            shown.data(until=None)
        else:
            until = (int(state.until), 0)
            shown.condwrite(True, b"until", b", until %s", shown.formatdate(until, b"%Y-%m-%dT%H:%M:%SZ"))
        shown.plain(b"\n")


def _write(shown: Any, field: bytes, text: bytes, value: str | None) -> None:
    if value is None:
        shown.data(**{field.decode("ascii"): None})
    else:
        shown.write(field, text, value.encode("utf-8"))
