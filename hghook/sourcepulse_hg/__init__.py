# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""publish pushes as events on a message broker

Every push becomes one event, ``hg.push.v1``, with the changesets, their authors, descriptions and files, who
pushed and how; so do local commits and pulls. Other changes in a transaction have events of their own:
``hg.bookmark.*`` and ``hg.tag.*`` (created, moved, deleted), ``hg.branch.created``, ``hg.head.created``,
``hg.head.closed``, ``hg.phase.changed`` and ``hg.obsolete.created``. ``hg.repo.created`` comes before the first event
of a repository, ``hg.repo.stripped`` lists what strip and rollback removed. Events contain only what a pull can see,
never secret or hidden changesets. A push never waits for the broker and never fails because of it: the first copy of
an event is part of Mercurial's own transaction (the journal removes it on a rollback and on :hg:`recover`). After
the locks are released it moves to an outbox, and a separate process, the relay, publishes it.

Enable it on the server, in the system-wide hgrc for all repositories or in ``.hg/hgrc`` for one::

  [extensions]
  sourcepulse_hg =

  [sourcepulse]
  root = /srv/hg
  broker_file = /etc/sourcepulse/broker

If Mercurial runs with a different Python from the one sourcepulse is installed in, set the path that
``sourcepulse hg-path`` prints::

  [extensions]
  sourcepulse_hg = /opt/sourcepulse/lib/python3.11/site-packages/sourcepulse_hg

Where only hooks are allowed, this works without the extension, with a weaker guarantee: if the server is killed
between the commit and the hook, the events are published with the next push, without the pusher's name::

  [hooks]
  changegroup.sourcepulse = python:sourcepulse_hg.changegroup

With both enabled, only the extension publishes.

Configuration, all in section ``[sourcepulse]``:

``sourcepulse.outbox``
  The outbox file, relative to ``.hg``. Several repositories may share one.
  Default: ``sourcepulse/outbox.db``, inside ``.hg``.

``sourcepulse.broker``
  The URL of the broker, for instance ``amqp://broker.example.org/`` or ``file:///var/lib/pulse/log.db``.
  Without it events wait in the outbox. Do not put a password in a file that others can read:
  use ``broker_file``.

``sourcepulse.broker_file``
  A file that holds the URL of the broker.

``sourcepulse.relay``
  ``auto`` starts a relay after a push if none is running (it exits when idle); with ``off`` you run it
  yourself. Default: ``auto``.

``sourcepulse.root``
  The directory below which repositories publish; the path below it is the name of a repository and forms
  the words of the routing key. Default: every repository publishes under the last component of its path.

``sourcepulse.repository``
  The name of this repository, instead of its path below ``root``.

``sourcepulse.source``
  The source of the events: the name of the repository is appended to ``hg://HOST``; ``hg://HOST/some/path`` is
  used unchanged. Default: ``hg://`` and the name of this machine.

``sourcepulse.repo_url``
  The URL to pull from, published in the events; ``{repo}`` stands for the name of the repository.

``sourcepulse.visibility``
  ``public``, ``restricted`` or ``auto``: restricted if ``web.allow_read`` or ``web.deny_read`` limits who may read.
  Restricted events have a stream, an exchange and a broker of their own. Default: ``auto``.

``sourcepulse.publish``
  With ``no`` this repository publishes nothing, for instance as a mirror of one that publishes. Default: yes.

``sourcepulse.role``
  ``mirror``: this repository publishes no events of its own. After each pull it republishes the events of the
  repository it pulls from, with the same ids, as soon as it has the changesets. That repository needs ``mirrors``,
  and ``source`` must be the same in both. Default: ``origin``.

``sourcepulse.mirrors``
  With ``yes`` every client that may pull may read the last 500 public events, as a mirror does. Default: no.

``sourcepulse.detail``
  ``files``: changesets with their files; ``changesets``: without files; ``refs``: only counts, first and last
  changeset and heads. Default: ``files``.

``sourcepulse.max_changesets``
  The maximum number of changesets listed in an event; for the rest it has the count and a query. Default: 100.

``sourcepulse.commits``
  Whether local changes are published, too: commits and pulls in the repository itself, and changes of bookmarks,
  tags and phases there. With ``no`` only pushes and unbundles are published. Default: yes. In a system-wide
  hgrc set ``root`` as well, so that the users' clones on this machine do not publish.

``sourcepulse.on_error``
  What happens if the first copy cannot be written, for instance on a full disk: ``refuse`` rolls the push
  back, as Mercurial does when it cannot write its own files; ``lose`` accepts the push unpublished and records
  that in ``.hg/sourcepulse/lost``. Default: ``refuse``.

``sourcepulse.auto_recover``
  With ``yes`` a transaction that a dead process left unfinished is rolled back before the next one, as
  :hg:`recover` does. With ``no`` Mercurial refuses all pushes until an admin runs :hg:`recover`. Default: no.

``sourcepulse.tree_admins``, ``sourcepulse.tree_users``, ``sourcepulse.tree_closed_words``,
``sourcepulse.tree_approval_words``, ``sourcepulse.tree_command``, ``sourcepulse.tree_unreachable``
  Who may close the tree, and which pushes a closed tree accepts, see :hg:`help treestatus`.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PACKAGE = "sourcepulse_hg"
CORE = "sourcepulse"

testedwith = b"6.3 7.2"
minimumhgversion = b"6.3"
buglink = b"the developers of sourcepulse, see its README.md"

#: Sorts after the user's hooks (`001-userhooks`) and after every other validator that may still veto.
VALIDATOR = b"~sourcepulse"
_UNPUBLISHED = b"the push is not published"
#: The keys of `tr.changes`, beside the changesets, that we publish.
_CHANGES = (b"bookmarks", b"phases", b"obsmarkers", b"sourcepulse-tree")
#: Sorts after the user's hooks and before our validator that writes the events.
_GATE = b"|sourcepulse-tree"


def __getattr__(name: str) -> Any:
    # Mercurial looks these up by name. They are loaded lazily because the collector imports this package without
    # Mercurial.
    if name in ("cmdtable", "configtable"):
        return getattr(_ours("commands.declarations"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def extsetup(ui: Any) -> None:
    """Wrap strip, whichever command calls it, and pull."""
    del ui
    from mercurial import exchange, extensions, repair

    # The strip command calls this, and so do amend, rebase and histedit without evolution.
    extensions.wrapfunction(repair, "strip", _strip)
    extensions.wrapfunction(exchange, "pull", _pull)


def _strip(original: Any, ui: Any, repo: Any, nodelist: Any, *args: Any, **kwargs: Any) -> Any:
    run = functools.partial(original, ui, repo, nodelist, *args, **kwargs)
    removal = _removal(repo) if getattr(repo, "sourcepulse_watches", False) else None
    return run() if removal is None else removal.strip(repo, run, nodelist)


def _pull(original: Any, repo: Any, remote: Any, *args: Any, **kwargs: Any) -> Any:
    result = original(repo, remote, *args, **kwargs)
    is_ours = getattr(repo, "sourcepulse_watches", False)
    if is_ours and repo.ui.config(b"sourcepulse", b"role") not in (None, b"", b"origin"):
        problem = b"the pulled events are not published"
        _or_warn(repo.ui, problem, lambda: _ours("mirror").publish_mirrored(repo, remote))
    return result


def _serve_mirrors(repo: Any) -> None:
    """Register our pushkey namespace. That is once for the process; each repository checks its own settings."""
    from mercurial import pushkey

    if repo.ui.config(b"sourcepulse", b"mirrors"):
        pushkey.register(b"sourcepulse", lambda *_: False, lambda repo: _ours("mirror").list_events(repo))


def reposetup(ui: Any, repo: Any) -> None:
    """Watch the transactions of a local repository."""
    del ui
    if repo.local():
        _serve_mirrors(repo)
        repo.__class__ = _watched(repo.__class__)


def _watched(base: Any) -> Any:
    class WatchedRepository(base):  # type: ignore[misc] # the class is known at run time only
        #: The `changegroup` hook checks this and leaves publishing to the extension.
        sourcepulse_watches = True

        def transaction(self, *args: Any, **kwargs: Any) -> Any:
            if self.currenttransaction() is not None:
                return super().transaction(*args, **kwargs)
            repo, name = self.unfiltered(), args[0] if args else kwargs.get("desc", b"")
            if self.svfs.exists(b"journal"):
                problem = b"the abandoned transaction was not rolled back"
                _or_warn(self.ui, problem, lambda: _ours("transaction.recovered").recover_abandoned(repo))
            removal = _removal(self) if _is_removing(self) else None
            if removal is not None:
                removal.transaction_begins(repo, name)
            tr = super().transaction(*args, **kwargs)
            if removal is not None:
                removal.transaction_began(repo, tr)
            _note_begin(repo, name)
            _add_validators(repo, tr)
            return tr

        def _rollback(self, *args: Any, **kwargs: Any) -> Any:
            run = functools.partial(super()._rollback, *args, **kwargs)
            is_dry_run = args[0] if args else kwargs.get("dryrun")
            removal = None if is_dry_run else _removal(self)
            return run() if removal is None else removal.rollback(self, run)

        def recover(self) -> Any:
            result = super().recover()
            removal = _removal(self) if _is_removing(self) else None
            if removal is not None:
                with self.lock():
                    removal.settle(self, recovered=True)
            return result

        def register_changeset(self, rev: int, changelogrevision: Any) -> None:
            super().register_changeset(rev, changelogrevision)
            before = getattr(self, "sourcepulse_before", None)
            if before is not None:
                before.note(rev, changelogrevision)

    return WatchedRepository


def _add_validators(repo: Any, tr: Any) -> None:
    # A strong reference would make a cycle of repository, transaction and callback.
    reference = weakref.ref(repo)

    def guard(tr: Any) -> None:
        here = reference()
        if here is not None and _changed_anything(here, tr) and _may_have_tree_state(here):
            _ours("tree.gate").guard(here, tr)

    def validate(tr: Any) -> None:
        here = reference()
        if here is None:
            return
        has_changed = _changed_anything(here, tr)
        record = _or_warn(here.ui, _UNPUBLISHED, lambda: _ours("transaction.record").record) if has_changed else None
        if record is not None or not has_changed:
            # Otherwise, as during an upgrade of ours, the changesets stay unseen, and the next transaction finds them.
            _note_seen(here, tr)
        if record is not None:
            record(here, tr)

    tr.addvalidator(_GATE, guard)
    tr.addvalidator(VALIDATOR, validate)


def _may_have_tree_state(repo: Any) -> bool:
    """Return whether the tree may be closed; most pushes pay only for this check. The names are from tree/store.py."""
    if repo.ui.config(b"sourcepulse", b"tree_command") or repo.svfs.exists(b"sourcepulse/tree.json"):
        return True
    return any(name.startswith(b"upgradebackup.") for name in os.listdir(repo.sharedpath))


def _changed_anything(repo: Any, tr: Any) -> bool:
    """Return whether a transaction changed anything that we publish; an empty push does not."""
    changes = tr.changes
    return len(repo.changelog) > changes[b"origrepolen"] or any(map(changes.get, _CHANGES))


def _is_removing(repo: Any) -> bool:
    """Return whether changesets are being removed, or a process died removing them; the names are from removal.py."""
    path = os.path.join(repo.sharedpath, b"sourcepulse", b"removing")
    return hasattr(repo, "sourcepulse_stripping") or os.path.exists(path)


def _removal(repo: Any) -> Any:
    return _or_warn(repo.ui, b"the removal of changesets is not published", lambda: _ours("strip.removal"))


def _note_seen(repo: Any, tr: Any) -> None:
    """Record how far we have seen the changelog, even where nothing of it is published."""
    with suppress(Exception):  # the next transaction tries again
        is_known = repo.svfs.exists(b"sourcepulse-seen")
        if len(repo.changelog) != tr.changes[b"origrepolen"] or (not is_known and len(repo.changelog)):
            _ours("transaction.known_before").note_seen(repo, tr)


def _note_begin(repo: Any, name: bytes) -> None:
    with suppress(Exception):  # an incomplete installation is reported once there is something to publish
        _ours("transaction.known_before").note_begin(repo, name)


def changegroup(ui: Any, repo: Any, **kwargs: Any) -> bool:
    """Publish a push from `[hooks] changegroup.sourcepulse = python:sourcepulse_hg.changegroup`.

    The guarantee is weaker than that of the extension: Mercurial calls this after the commit. If the process is
    killed in between, the push is published with the next one. This never raises and never returns true, so it
    cannot make a push fail.
    """
    _or_warn(ui, _UNPUBLISHED, lambda: _ours("changegroup_hook.hook").changegroup(ui, repo, **kwargs))
    return False


def _or_warn(ui: Any, problem: bytes, run: Callable[[], Any]) -> Any:
    """Run something of ours and return its result; a failure, as of an incomplete installation, is only a warning."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - our own errors must not break hg
        ui.warn(b"sourcepulse: %s: %s\n" % (problem, repr(error).encode("utf-8", "replace")))
        return None


def _ours(module: str) -> Any:
    """Import a module of this package eagerly, wherever Mercurial loaded this file from.

    Mercurial's lazy importer is switched off meanwhile, because modules that it postpones would be loaded in the
    middle of a commit, by several threads of a server at once.
    """
    import importlib

    import hgdemandimport

    with hgdemandimport.deactivated():
        _settle()
        return importlib.import_module(f"{PACKAGE}.{module}")


def _settle() -> None:
    """Register this package and the core under their true names, without touching `sys.path`.

    In the path form Mercurial calls this module `hgext_sourcepulse_hg` or the like, and its Python may not have
    the folder where sourcepulse is installed on `sys.path`. Adding that folder would let every other package in it
    shadow Mercurial's own.
    """
    import importlib.util

    here = os.path.dirname(os.path.realpath(__file__))
    if PACKAGE not in sys.modules:
        module = sys.modules[__name__]
        module.__path__ = [here]
        sys.modules[PACKAGE] = module
    if CORE in sys.modules:
        return
    above = os.path.dirname(here)
    # The installed core is beside this package; in a checkout it is in shared/.
    for folder in (os.path.join(above, CORE), os.path.join(os.path.dirname(above), "shared", CORE)):
        init = os.path.join(folder, "__init__.py")
        if os.path.isfile(init):
            spec: Any = importlib.util.spec_from_file_location(CORE, init, submodule_search_locations=[folder])
            sys.modules[CORE] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return
