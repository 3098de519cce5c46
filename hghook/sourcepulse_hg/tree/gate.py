# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Refuse pushes to a closed tree, as a validator of their transaction, so that nothing of a refused push stays."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_hg.commands.setting_keys import SECTION
from sourcepulse_hg.facts import Act, acting_user, comes_from_others, parse_entry, public_url, source_word
from sourcepulse_hg.mapping.events import emitter_of
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.messages import refusal as refuse
from sourcepulse_hg.pending.write import HandOver, write_outside_transaction
from sourcepulse_hg.settings import Settings, read_settings
from sourcepulse_hg.tree.events import Refusal, refused_event, tree_event
from sourcepulse_hg.tree.service import ask_service, when_unreachable
from sourcepulse_hg.tree.state import (
    APPROVAL,
    CLOSED,
    OPEN,
    TreeChange,
    TreeSettings,
    TreeState,
    TreeStateError,
    passes,
    read_tree_settings,
)
from sourcepulse_hg.tree.store import note_change, read_state, remember_service_state, service_state, state_file

#: The source of a change that a tree-status service made; it is not part of the push.
_TREESTATUS = b"treestatus"


def guard(repo: Any, tr: Any) -> None:
    """Raise error.Abort for a push that the tree does not accept; local changes always pass.

    An error here also refuses the push, because it is unknown whether the tree is open.
    """
    if not repo.ui.config(SECTION, b"tree_command") and state_file(repo.sharedpath, repo.spath) is None:
        return
    word = source_word(tr.hookargs.get(b"source"), tr.hookargs.get(b"txnname") or b"")
    if not comes_from_others(word):
        return
    try:
        refusal = _Gate(repo, tr, word).refusal()
    except Exception as failure:
        messages = Messages(repo.ui, tr.hookargs.get(b"url"))
        raise refuse(
            repo.ui,
            messages.for_reader(f"the status of the tree is unknown: {failure!r}"),
            "ask the admin of the repository to run 'hg treestatus' on the server",
        ) from failure
    if refusal is not None:
        raise refuse(repo.ui, _message(refusal), _hint(refusal))


def current_state(repo: Any, settings: TreeSettings, now: float) -> TreeState:
    """Return the current state, from the service or the store; raises TreeStateError if the stored one is damaged."""
    if settings.command is None:
        return read_state(repo).at(now)
    environ = {**os.environb, b"SOURCEPULSE_REPOSITORY": os.path.dirname(repo.sharedpath)}
    try:
        return ask_service(settings.command, environ, now)
    except (TreeStateError, OSError) as problem:
        return when_unreachable(str(problem), is_open=settings.unreachable_is_open)


class _Gate:
    def __init__(self, repo: Any, tr: Any, word: bytes | None) -> None:
        url = tr.hookargs.get(b"url")
        self.repo = repo
        self.tr = tr
        self.messages = Messages(repo.ui, url)
        self.tree_settings = read_tree_settings(repo.ui)
        self.messages.warn_all(self.tree_settings.problems)
        self.now = time.time()
        self.user = acting_user(repo.ui.environ, url)
        txnid = tr.hookargs[b"txnid"].decode("ascii")
        self.act = Act(txnid, self.now, self.user, word, public_url(url))

    def refusal(self) -> Refusal | None:
        """Return why the push is refused, None if it passes; also publish the service's state and the refusal."""
        state = self._state()
        user = None if self.user is None else self.user.decode("utf-8", "surrogateescape")
        refusal = None
        if not passes(state, self.tree_settings, user=user, description=self._description()):
            refusal = self._refused(state)
        self._publish(state, refusal)
        return refusal

    def _state(self) -> TreeState:
        try:
            stored = current_state(self.repo, self.tree_settings, self.now)
        except TreeStateError as problem:
            return when_unreachable(str(problem), is_open=False)
        if self.tree_settings.command is None:
            before = read_state(self.repo)
            if before != stored:
                # A scheduled reopening is due. This transaction is the first after it, so it publishes the change.
                note_change(self.tr, TreeChange(before.state, stored))
        return stored

    def _description(self) -> str | None:
        changelog = self.repo.changelog
        tip = len(changelog) - 1
        if tip < self.tr.changes[b"origrepolen"]:
            return None
        return parse_entry(changelog.revision(tip)).description.decode("utf-8", "replace")

    def _refused(self, state: TreeState) -> Refusal:
        changelog = self.repo.changelog
        start, stop = self.tr.changes[b"origrepolen"], len(changelog)
        first, last = (changelog.node(rev).hex() if stop > start else None for rev in (start, stop - 1))
        reason = state.reason or ""
        return Refusal(state.state, reason, stop - start, first, last)

    def _publish(self, state: TreeState, refusal: Refusal | None) -> None:
        """Write the events outside the transaction; errors are ignored, because the push must not depend on this."""
        with suppress(Exception):
            settings = read_settings(self.repo)
            events = self._service_events(state, settings)
            if refusal is not None:
                events.append(refused_event(self.act, refusal, emitter_of(settings)))
            if events and settings.published:
                write_outside_transaction(self.repo, self.act.txnid, events)
                if self.tree_settings.command is not None and state.since:
                    remember_service_state(self.repo, state)
                HandOver.of(self.repo, settings, self.messages).schedule()

    def _service_events(self, state: TreeState, settings: Settings) -> list[Event]:
        if self.tree_settings.command is None or not state.since:
            return []
        before = service_state(self.repo)
        if before is not None and before.state == state.state:
            return []
        if before is None and state.state == OPEN:
            remember_service_state(self.repo, state)
            return []
        act = self.act._replace(time=state.since, user=None, source=_TREESTATUS, url=None)
        change = TreeChange(None if before is None else before.state, state)
        return [tree_event(act, change, emitter_of(settings), key=(state.state, str(int(state.since))))]


def _message(refusal: Refusal) -> str:
    words = {CLOSED: "the tree is closed", APPROVAL: "the tree accepts only approved pushes"}[refusal.state]
    return f"{words}: {refusal.reason}" if refusal.reason else words


def _hint(refusal: Refusal) -> str:
    if refusal.state == APPROVAL:
        return "the description of the last changeset must name who approved it, see the rules of this repository"
    return "push again when the tree is open"
