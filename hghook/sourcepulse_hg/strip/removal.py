# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish the changesets that strip and rollback remove, even if they are interrupted; see candidates.py for how.

A strip is a transaction `strip` that truncates, a second one of that name that adds the unrelated later changesets
again, and a transaction `repair` that moves the bookmarks. What is gone is certain only after the second one, so the
note is settled when `repair` begins, before the bookmark events are made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from mercurial import error, phases

from sourcepulse.events.event import Event
from sourcepulse.events.limits import LIST_MAX_ITEMS
from sourcepulse_hg.facts import Act, Emitter, acting_user
from sourcepulse_hg.gather.served_view import unserved_now
from sourcepulse_hg.mapping.events import Texts, emitter_of, make_event
from sourcepulse_hg.messages import Messages
from sourcepulse_hg.pending.first_copy import FOLDER, DamagedError, Identity, ensure_folder, parse_name
from sourcepulse_hg.pending.write import HandOver, write_with_creation
from sourcepulse_hg.settings import Settings, read_settings
from sourcepulse_hg.strip.candidates import ROLLBACK, STRIP, STRIPPED, RemovalNote, note_path, read_note, write_note

#: The attribute of a repository that is being stripped: the candidates until the note is written, then None.
#: `__init__.py` looks it up by this name.
_STRIPPING = "sourcepulse_stripping"
_UNKNOWN_TXNID_BYTES = 20


def strip(repo: Any, run: Callable[[], Any], nodelist: bytes | Iterable[bytes]) -> Any:
    """Run Mercurial's strip of these nodes and their descendants and return its result."""
    repo = repo.unfiltered()
    if hasattr(repo, _STRIPPING):
        return run()
    object.__setattr__(repo, _STRIPPING, _strip_candidates(repo, nodelist))
    try:
        return run()
    finally:
        object.__delattr__(repo, _STRIPPING)
        settle(repo, recovered=False)


def transaction_begins(repo: Any, name: bytes) -> None:
    """Settle the note of an earlier removal before another transaction changes the repository."""
    if hasattr(repo, _STRIPPING):
        if not name.startswith(STRIP.encode("ascii")):
            settle(repo, recovered=False)
    elif os.path.exists(note_path(repo.sharedpath)):
        settle(repo, recovered=True)


def transaction_began(repo: Any, tr: Any) -> None:
    """Write the note of a strip when its transaction has begun; raises error.Abort as `on_error` demands."""
    nodes = getattr(repo, _STRIPPING, None)
    if nodes is None:
        return
    object.__setattr__(repo, _STRIPPING, None)
    try:
        _note(repo, STRIP, tr.hookargs[b"txnid"].decode("ascii"), nodes, was_published=False)
    except error.Abort:
        tr.release()
        raise


def rollback(repo: Any, run: Callable[[], Any]) -> Any:
    """Run Mercurial's rollback and return its result."""
    repo = repo.unfiltered()
    settle(repo, recovered=True)
    _promote_committed(repo)
    undone = _undone_txnid(repo)
    txnid = f"TXN:{os.urandom(_UNKNOWN_TXNID_BYTES).hex()}" if undone is None else undone
    _note(repo, ROLLBACK, txnid, _rollback_candidates(repo), was_published=undone is not None)
    try:
        return run()
    finally:
        settle(repo, recovered=False)


def settle(repo: Any, *, recovered: bool) -> bool:
    """Publish which nodes of the note are gone and delete the note; False if that has to wait.

    The caller holds the lock of the store, so no other process is removing anything.
    """
    repo = repo.unfiltered()
    path = note_path(repo.sharedpath)
    messages = Messages(repo.ui)
    try:
        if repo.svfs.exists(b"journal"):
            # A strip died, and the files of the store are inconsistent until `hg recover`.
            return not os.path.exists(path)
        note = read_note(repo.sharedpath)
        if note is None:
            return True
        settings = read_settings(repo)
        if settings.published and note.inode == Identity.of(repo.sharedpath).inode:
            _publish(repo, note, settings, messages, recovered=recovered)
        os.unlink(path)
    except DamagedError as failure:
        messages.lost(repo.sharedpath, "-", f"the note of a strip: {failure}", what="the removal of changesets is")
        with suppress(OSError):
            os.unlink(path)
    except Exception as failure:  # noqa: BLE001 - our own errors must not refuse anything
        messages.warn(f"the removal of changesets will be published later: {failure!r}")
        return False
    return True


def _publish(repo: Any, note: RemovalNote, settings: Settings, messages: Messages, *, recovered: bool) -> None:
    has_node = repo.changelog.index.has_node
    gone = [node for node in note.nodes if not has_node(bytes.fromhex(node))]
    is_undone = note.operation == ROLLBACK and note.was_published and not repo.svfs.exists(b"undo")
    if not gone and not is_undone:
        return
    act = Act(note.txnid, note.time, note.user, note.operation.encode("ascii"), None)
    event = _removal_event(act, note.operation, gone, emitter_of(settings), recovered=recovered)
    write_with_creation(repo, note.txnid, [event], settings, messages)
    HandOver.of(repo, settings, messages).schedule()


def _removal_event(act: Act, operation: str, gone: Sequence[str], emitter: Emitter, *, recovered: bool) -> Event:
    """Return the event of the removed nodes; for a rollback, `act.txnid` is the transaction that it undid."""
    texts = Texts()
    nodes = list(gone[:LIST_MAX_ITEMS])
    texts.note_cut("/nodes", len(nodes), len(gone))
    return make_event(
        STRIPPED,
        act,
        emitter,
        texts,
        {"operation": operation, "count": len(gone), "nodes": nodes},
        key=[ROLLBACK, act.txnid] if operation == ROLLBACK else None,
        recovered=recovered,
    )


def _note(repo: Any, operation: str, txnid: str, nodes: tuple[str, ...], *, was_published: bool) -> None:
    messages = Messages(repo.ui)
    settings = None
    try:
        settings = read_settings(repo)
        if not settings.published or not (nodes or was_published) or _is_local_only(operation, settings, was_published):
            return
        note = RemovalNote(
            operation,
            txnid,
            acting_user(repo.ui.environ, None),
            time.time(),
            was_published,
            Identity.of(repo.sharedpath).inode,
            nodes,
        )
        write_note(repo.sharedpath, note)
    except Exception as failure:
        # As for a push: our own errors must not refuse anything.
        is_storage = isinstance(failure, OSError)
        if is_storage and settings is not None and settings.refuse:
            raise error.Abort(
                b"sourcepulse: the changesets that %s will remove cannot be recorded: %s"
                % (operation.encode("ascii"), str(failure).encode("utf-8", "surrogateescape")),
                hint=b"free or repair the storage, or set 'on_error = lose' to continue without publishing",
            ) from failure
        reason = str(failure) if is_storage else repr(failure)
        messages.lost(repo.sharedpath, txnid, reason, what=f"the changesets that {operation} removes are")


def _is_local_only(operation: str, settings: Settings, was_published: bool) -> bool:
    # With `commits = no` a local commit has no event, so neither has its rollback.
    return operation == ROLLBACK and not was_published and not settings.commits


def _strip_candidates(repo: Any, nodelist: bytes | Iterable[bytes]) -> tuple[str, ...]:
    """Return the served nodes that a strip may remove: Mercurial truncates its files at the first of these."""
    try:
        changelog = repo.changelog
        nodes = [nodelist] if isinstance(nodelist, bytes) else list(nodelist)
        start = min(map(changelog.rev, nodes))
        # With `commits = no` only pushed changesets are published. On a publishing server these are public, so a draft
        # was not pushed.
        return _served_nodes(repo, start, only_public=not read_settings(repo).commits)
    except Exception:  # noqa: BLE001 - Mercurial will report what is wrong with these nodes
        return ()


def _rollback_candidates(repo: Any) -> tuple[str, ...]:
    """Return the served nodes that a rollback will remove."""
    try:
        length = int(repo.vfs.read(b"undo.desc").splitlines()[0])
    except (OSError, ValueError, IndexError):
        return ()
    return _served_nodes(repo, length)


def _served_nodes(repo: Any, start: int, *, only_public: bool = False) -> tuple[str, ...]:
    changelog = repo.changelog
    unserved = unserved_now(repo)
    phase_of = repo._phasecache.phase
    return tuple(
        changelog.node(rev).hex()
        for rev in range(start, len(changelog))
        if rev not in unserved and not (only_public and phase_of(repo, rev) != phases.public)
    )


def _undone_txnid(repo: Any) -> str | None:
    """Return the transaction that a rollback will undo, if it has a first copy; Mercurial does not record it."""
    wanted = FOLDER + b"/p"
    try:
        lines = repo.svfs.read(b"undo.backupfiles").split(b"\n")
    except OSError:
        return None
    for line in lines:
        path = b"".join(line.split(b"\0")[1:2])
        parsed = parse_name(os.path.basename(path).decode("ascii", "replace")) if path.startswith(wanted) else None
        if parsed is not None:
            return f"TXN:{parsed[1]}"
    return None


def _promote_committed(repo: Any) -> None:
    """Move first copies that a crash left in the store out of the way of a rollback, which would remove them."""
    if repo.svfs.exists(b"journal"):
        return
    pending = repo.svfs.join(FOLDER)
    ready = os.path.join(repo.sharedpath, FOLDER)
    with suppress(OSError):
        for name in os.listdir(pending):
            if name.startswith(b"p") and parse_name(os.fsdecode(name)) is not None:
                ensure_folder(ready, like=repo.sharedpath)
                os.rename(os.path.join(pending, name), os.path.join(ready, b"r" + name[1:]))
