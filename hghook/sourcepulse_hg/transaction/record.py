# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a transaction, in the order of the event contract, and write them as part of it.

So they are committed or rolled back with it, even in a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mercurial import error

from sourcepulse.events.event import Event
from sourcepulse.events.record import Record
from sourcepulse_hg.facts import Act, Emitter, acting_user, is_published, parse_entry, public_url, source_word
from sourcepulse_hg.gather.served_view import ServedView, never_seen, note_vanished
from sourcepulse_hg.mapping.events import emitter_of, push_event
from sourcepulse_hg.messages import Messages, refusal
from sourcepulse_hg.pending.repo_created import with_creation
from sourcepulse_hg.pending.write import publish_on_close, write_in_transaction
from sourcepulse_hg.settings import Settings, read_settings, silence
from sourcepulse_hg.transaction.known_before import StateBefore, noted_before

#: The key under which tree/store.py keeps a change of the tree's state; repeated here to avoid loading that module.
_TREE_CHANGE = b"sourcepulse-tree"
_NO_REVISION = -1
#: A longer line is left to `gather/heads.py`, which reads no changesets.
_LINE_MAX_CHANGESETS = 10
#: The source of changesets that existed before and that a pull can see for the first time.
_PHASE = b"phase"
#: In a repository with this requirement Mercurial reports a changeset before it knows its files.
_FILES_APART = b"exp-copies-sidedata-changeset"


def record(repo: Any, tr: Any) -> None:
    """Write the first copy, as the last validator of a transaction, and schedule its collection.

    Raises error.Abort, which rolls the transaction back, only if the first copy cannot be written and `on_error` is
    `refuse`.
    """
    txnid = tr.hookargs[b"txnid"].decode("ascii")
    messages = Messages(repo.ui, tr.hookargs.get(b"url"))
    try:
        settings = read_settings(repo)
        messages.warn_all(settings.problems)
        events = with_creation(repo, _events_of(repo, tr, settings, messages, txnid), settings, messages)
    except Exception as failure:  # noqa: BLE001 - our own errors must not refuse a push
        messages.lost(repo.sharedpath, txnid, repr(failure))
        return
    if events:
        _write(repo, tr, events, settings, messages, txnid)


def _events_of(repo: Any, tr: Any, settings: Settings, messages: Messages, txnid: str) -> list[Event]:
    before = noted_before(repo)
    events = transaction_events(
        repo,
        settings,
        messages,
        start=tr.changes[b"origrepolen"],
        stop=len(repo.changelog),
        txnid=txnid,
        source=tr.hookargs.get(b"source"),
        url=tr.hookargs.get(b"url"),
        transaction_name=tr.hookargs.get(b"txnname") or b"",
        changes=tr.changes,
        before=before,
    )
    try:
        note_vanished(repo, tr, before.unserved)
    except Exception as failure:  # noqa: BLE001 - if these reappear they are published twice, which is harmless
        messages.note(f"changesets that are no longer visible could not be recorded: {failure!r}")
    if before.unseen is not None:
        from sourcepulse_hg.transaction.recovered import unseen_events

        start, stop = before.unseen
        events = [*unseen_events(repo, settings, messages, start=start, stop=stop, txnid=txnid), *events]
    return events


def _write(repo: Any, tr: Any, events: list[Event], settings: Settings, messages: Messages, txnid: str) -> None:
    try:
        name = write_in_transaction(repo, tr, txnid, events)
    except Exception as failure:
        # Our own errors must not refuse a push, only those of the storage.
        is_storage = isinstance(failure, OSError | error.Abort)
        reason = (str(failure) if is_storage else "") or repr(failure)
        if is_storage and settings.refuse:
            raise refusal(
                repo.ui,
                messages.for_reader(f"sourcepulse: the first copy of the push's event cannot be written: {reason}"),
                "free or repair the storage, or set 'on_error = lose' to accept pushes unpublished",
            ) from failure
        messages.lost(repo.sharedpath, txnid, reason)
        return
    publish_on_close(repo, tr, name, events, settings, messages)


class Work(Record):
    """The input for making events: the unfiltered repository and what happened to it.

    `changes` is Mercurial's `tr.changes`, empty in a `changegroup` hook.
    """

    repo: Any
    view: ServedView
    changes: Mapping[bytes, Any]
    before: StateBefore
    act: Act
    emitter: Emitter
    messages: Messages


def transaction_events(
    repo: Any,
    settings: Settings,
    messages: Messages,
    *,
    start: int,
    stop: int,
    txnid: str,
    source: bytes | None,
    url: bytes | None,
    transaction_name: bytes,
    changes: Mapping[bytes, Any] | None = None,
    before: StateBefore | None = None,
) -> list[Event]:
    """Return the events of a transaction that added the revisions `range(start, stop)`.

    Each kind of fact is gathered on its own: if one fails, a warning says so, and the others are published.
    """
    word = source_word(source, transaction_name)
    is_wanted = is_published(word, commits=settings.commits)
    if is_wanted and (why := silence(settings)) is not None:
        messages.note(f"nothing is published: {why}")
    if not settings.published or not (is_wanted or (changes is not None and _TREE_CHANGE in changes)):
        return []
    repo = repo.unfiltered()
    before = StateBefore(None, frozenset()) if before is None else before
    act = Act(txnid, time.time(), acting_user(repo.ui.environ, url), word, public_url(url))
    emitter = emitter_of(settings)
    if changes is not None and changes.get(b"obsmarkers"):
        # Not every operation that adds markers recomputes what they hide before the end of the transaction.
        repo.invalidatevolatilesets()
    view = ServedView(repo, before.unserved, start=start, stop=stop)
    work = Work(repo, view, {} if changes is None else changes, before, act, emitter, messages)
    events: list[Event] = []
    for what, make in _KINDS if is_wanted else _KINDS_OF_TREE:
        try:
            events += make(work)
        except Exception as failure:  # noqa: BLE001 - our own errors must not refuse a push
            messages.lost(repo.sharedpath, txnid, repr(failure), what=f"the {what} of this transaction are")
    return events


def _push(work: Work) -> list[Event]:
    shown = _seen_first_now(work)
    if not work.view.added and not shown:
        return []
    from sourcepulse_hg.gather.changesets import FileReader, added_changesets

    files = FileReader(work.repo, work.messages.warn) if work.emitter.detail == "files" else None
    most = work.emitter.max_changesets
    added = added_changesets(work.repo, work.view, max_changesets=most, shown=shown, files=files)
    if added is None:
        return []
    if not work.view.added:
        work = work._replace(act=work.act._replace(source=_PHASE))
    try:
        return [push_event(work.act, added, work.emitter)]
    except Exception as failure:  # noqa: BLE001 - an unusual changeset: a short event is better than none
        work.messages.warn(f"the push is published without its changesets: {failure!r}")
        return [push_event(work.act, added, work.emitter._replace(detail="refs"))]


def _seen_first_now(work: Work) -> list[int]:
    """Return the older revisions, secret or hidden before, that a pull can see for the first time."""
    return never_seen(work.repo, list(work.view.revealed)) if work.view.revealed else []


def _bookmarks(work: Work) -> list[Event]:
    changes = work.changes.get(b"bookmarks") or {}
    if not changes and not work.view.revealed and not work.view.vanished:
        return []
    from sourcepulse_hg.gather.bookmarks import changed_bookmarks
    from sourcepulse_hg.mapping.refs import bookmark_events

    changed = changed_bookmarks(work.repo, changes, work.view, work.before.bookmarked)
    return bookmark_events(work.act, changed, work.emitter)


def _tags(work: Work) -> list[Event]:
    is_known = _all_registered(work) and _FILES_APART not in work.repo.requirements
    tagging = work.before.tagging if is_known else None
    shown = _seen_first_now(work)
    if not (shown or work.view.added) or (tagging == [] and not shown):
        return []
    from sourcepulse_hg.gather.tags import changed_tags_of
    from sourcepulse_hg.mapping.refs import tag_events

    return tag_events(work.act, changed_tags_of(work.repo, work.view, shown, tagging), work.emitter)


def _heads(work: Work) -> list[Event]:
    if not work.view.appeared or _continues_tip(work):
        return []
    from sourcepulse_hg.gather.heads import changed_heads
    from sourcepulse_hg.mapping.refs import head_events

    return head_events(work.act, changed_heads(work.repo, work.view, registered=_all_registered(work)), work.emitter)


def _continues_tip(work: Work) -> bool:
    """Return whether a few changesets continue the tip in one line on its branch, so that no head or branch is new.

    Most pushes do. The tip was a head of its branch, because nothing came after it.
    """
    view, changelog = work.view, work.repo.changelog
    is_short = len(view.appeared) == view.stop - view.start <= _LINE_MAX_CHANGESETS
    if not is_short or view.revealed or not view.was_served(view.start - 1):
        return False
    branch = parse_entry(changelog.revision(view.start - 1)).branch
    for revision in view.added:
        entry = parse_entry(changelog.revision(revision))
        if entry.branch != branch or entry.closed or changelog.parentrevs(revision) != (revision - 1, _NO_REVISION):
            return False
    return True


def _all_registered(work: Work) -> bool:
    return work.before.registered == work.view.stop - work.view.start


def _phases(work: Work) -> list[Event]:
    changes = [change for change in work.changes.get(b"phases") or () if change[1][0] is not None]
    if not changes:
        return []
    from sourcepulse_hg.gather.phases_and_markers import changed_phases
    from sourcepulse_hg.mapping.refs import phase_events

    return phase_events(work.act, changed_phases(work.repo, changes, work.view), work.emitter)


def _markers(work: Work) -> list[Event]:
    markers = work.changes.get(b"obsmarkers")
    if not markers:
        return []
    from sourcepulse_hg.gather.phases_and_markers import new_markers
    from sourcepulse_hg.mapping.refs import obsolete_events

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
