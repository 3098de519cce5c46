# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Gather the changes of a transaction and make its events, in the order of the event contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.pusher import acting_user, is_published, public_url, source_word
from sourcepulse_hg.facts.served_view import ServedView
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.emitter import emitter_of
from sourcepulse_hg.messages import Teller
from sourcepulse_hg.settings import Settings, silence
from sourcepulse_hg.transaction.before import Before

#: The key under which tree/store.py keeps a change of the tree's state; repeated here to avoid loading that module.
_TREE_CHANGE = b"sourcepulse-tree"
#: The source of changesets that existed before and that a pull can see for the first time.
_PHASE = b"phase"
#: In a repository with this requirement Mercurial reports a changeset before it knows its files.
_FILES_APART = b"exp-copies-sidedata-changeset"


class Work(NamedTuple):
    """The input for making events: the unfiltered repository and what happened to it.

    `changes` is Mercurial's `tr.changes`, empty in a `changegroup` hook.
    """

    repo: Any
    view: ServedView
    changes: Mapping[bytes, Any]
    before: Before
    act: Act
    emitter: Emitter
    teller: Teller


def transaction_events(
    repo: Any,
    settings: Settings,
    teller: Teller,
    *,
    start: int,
    stop: int,
    txnid: str,
    source: bytes | None,
    url: bytes | None,
    transaction_name: bytes,
    changes: Mapping[bytes, Any] | None = None,
    before: Before | None = None,
) -> list[Event]:
    """Return the events of a transaction that added the revisions `range(start, stop)`.

    Each kind of fact is gathered on its own: if one fails, a warning says so, and the others are published.
    """
    word = source_word(source, transaction_name)
    is_wanted = is_published(word, commits=settings.commits)
    if is_wanted and (why := silence(settings)) is not None:
        teller.note(f"nothing is published: {why}")
    if not settings.published or not (is_wanted or (changes is not None and _TREE_CHANGE in changes)):
        return []
    repo = repo.unfiltered()
    before = Before(None, frozenset()) if before is None else before
    act = Act(txnid, time.time(), acting_user(repo.ui.environ, url), word, public_url(url))
    emitter = emitter_of(settings)
    if changes is not None and changes.get(b"obsmarkers"):
        # Not every operation that adds markers recomputes what they hide before the end of the transaction.
        repo.invalidatevolatilesets()
    view = ServedView(repo, before.unserved, start=start, stop=stop)
    work = Work(repo, view, {} if changes is None else changes, before, act, emitter, teller)
    events: list[Event] = []
    for what, make in _KINDS if is_wanted else _KINDS_OF_TREE:
        try:
            events += make(work)
        except Exception as failure:  # noqa: BLE001 - our own errors must not refuse a push
            teller.lost(repo.sharedpath, txnid, repr(failure), what=f"the {what} of this transaction are")
    return events


def _push(work: Work) -> list[Event]:
    shown = _seen_first_now(work)
    if not work.view.added and not shown:
        return []
    from sourcepulse_hg.gather.changesets import added_changesets
    from sourcepulse_hg.mapping.events import push_event

    files = None
    if work.emitter.detail == "files":
        from sourcepulse_hg.gather.files import FileReader

        files = FileReader(work.repo, work.teller.warn)
    most = work.emitter.max_changesets
    added = added_changesets(work.repo, work.view, max_changesets=most, shown=shown, files=files)
    if added is None:
        return []
    if not work.view.added:
        work = work._replace(act=work.act._replace(source=_PHASE))
    try:
        return [push_event(work.act, added, work.emitter)]
    except Exception as failure:  # noqa: BLE001 - an unusual changeset: a short event is better than none
        work.teller.warn(f"the push is published without its changesets: {failure!r}")
        return [push_event(work.act, added, work.emitter._replace(detail="refs"))]


def _seen_first_now(work: Work) -> list[int]:
    """Return the older revisions, secret or hidden before, that a pull can see for the first time."""
    if not work.view.revealed:
        return []
    from sourcepulse_hg.transaction.vanished import never_seen

    return never_seen(work.repo, list(work.view.revealed))


def _bookmarks(work: Work) -> list[Event]:
    changes = work.changes.get(b"bookmarks") or {}
    if not changes and not work.view.revealed and not work.view.vanished:
        return []
    from sourcepulse_hg.gather.bookmarks import changed_bookmarks
    from sourcepulse_hg.mapping.events import bookmark_events

    changed = changed_bookmarks(work.repo, changes, work.view, work.before.bookmarked)
    return bookmark_events(work.act, changed, work.emitter)


def _tags(work: Work) -> list[Event]:
    is_known = _all_registered(work) and _FILES_APART not in work.repo.requirements
    tagging = work.before.tagging if is_known else None
    shown = _seen_first_now(work)
    if not (shown or work.view.added) or (tagging == [] and not shown):
        return []
    from sourcepulse_hg.gather.tags import changed_tags_of
    from sourcepulse_hg.mapping.events import tag_events

    return tag_events(work.act, changed_tags_of(work.repo, work.view, shown, tagging), work.emitter)


def _heads(work: Work) -> list[Event]:
    if not work.view.appeared:
        return []
    from sourcepulse_hg.gather.heads import changed_heads
    from sourcepulse_hg.mapping.events import head_events

    return head_events(work.act, changed_heads(work.repo, work.view, registered=_all_registered(work)), work.emitter)


def _all_registered(work: Work) -> bool:
    return work.before.registered == work.view.stop - work.view.start


def _phases(work: Work) -> list[Event]:
    changes = [change for change in work.changes.get(b"phases") or () if change[1][0] is not None]
    if not changes:
        return []
    from sourcepulse_hg.gather.phases import changed_phases
    from sourcepulse_hg.mapping.events import phase_events

    return phase_events(work.act, changed_phases(work.repo, changes, work.view), work.emitter)


def _markers(work: Work) -> list[Event]:
    markers = work.changes.get(b"obsmarkers")
    if not markers:
        return []
    from sourcepulse_hg.gather.obsolete import new_markers
    from sourcepulse_hg.mapping.events import obsolete_events

    return obsolete_events(work.act, new_markers(work.repo, markers), work.emitter)


def _tree(work: Work) -> list[Event]:
    change = work.changes.get(_TREE_CHANGE)
    if change is None:
        return []
    from sourcepulse_hg.tree.events import tree_event
    from sourcepulse_hg.tree.state import SCHEDULED

    # A scheduled reopening has no user.
    act = work.act._replace(user=None) if change.new.reason == SCHEDULED else work.act
    return [tree_event(act, change, work.emitter)]


#: Published whatever the source of the transaction is.
_KINDS_OF_TREE: tuple[tuple[str, Callable[[Work], list[Event]]], ...] = (("tree's state", _tree),)
#: The kinds of events that can fail separately, named as in the warning, in the order of the event contract.
_KINDS: tuple[tuple[str, Callable[[Work], list[Event]]], ...] = (
    ("changesets", _push),
    ("bookmarks", _bookmarks),
    ("tags", _tags),
    ("branches and heads", _heads),
    ("phase changes", _phases),
    ("obsolescence markers", _markers),
    *_KINDS_OF_TREE,
)
