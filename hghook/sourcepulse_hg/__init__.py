# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""publish pushes as events on a message broker

Every push becomes one event, ``hg.push.v1``, with the changesets, their authors, descriptions and files, who
pushed and how; so do local commits and pulls. What else a transaction did has events of its own:
``hg.bookmark.*`` and ``hg.tag.*`` (created, moved, deleted), ``hg.branch.created``, ``hg.head.created``,
``hg.head.closed``, ``hg.phase.changed`` and ``hg.obsolete.created``. ``hg.repo.created`` comes before the first event
of a repository, ``hg.repo.stripped`` tells what strip and rollback removed. All tell what a pull can see, nothing of
secret or hidden changesets. A push never waits for the broker and never fails because of it: the first copy of an
event is part of Mercurial's own transaction (the journal removes it on a rollback and on :hg:`recover`), after
the locks are released it moves to an outbox, and a separate process, the relay, sends it on.

Enable it on the server, for all repositories in the system-wide hgrc or for one in its ``.hg/hgrc``::

  [extensions]
  sourcepulse_hg =

  [sourcepulse]
  root = /srv/hg
  broker_file = /etc/sourcepulse/broker

If Mercurial runs with another Python than the one sourcepulse is installed in, give the path that
``sourcepulse hg-path`` prints::

  [extensions]
  sourcepulse_hg = /opt/sourcepulse/lib/python3.11/site-packages/sourcepulse_hg

Where only hooks are allowed, this works without the extension, with a weaker guarantee: what a server that is
killed between the commit and the hook leaves untold, is told with the next push, without who pushed it::

  [hooks]
  changegroup.sourcepulse = python:sourcepulse_hg.changegroup

With both enabled, the hook leaves the work to the extension.

Configuration, all in section ``[sourcepulse]``:

``sourcepulse.outbox``
  The outbox file, relative to ``.hg``. Several repositories may share one.
  Default: ``sourcepulse/outbox.db``, inside ``.hg``.

``sourcepulse.broker``
  The URL of the broker, for instance ``amqp://broker.example.org/`` or ``file:///var/lib/pulse/log.db``.
  Without it events wait in the outbox. Do not write a password into a file that others can read:
  use ``broker_file``.

``sourcepulse.broker_file``
  A file that holds the URL of the broker.

``sourcepulse.relay``
  ``auto`` starts a relay after a push if none runs (it ends by itself when idle); ``off`` leaves that to
  you. Default: ``auto``.

``sourcepulse.root``
  The directory below which repositories publish; the path below it is the name of a repository and gives
  the words of the routing key. Default: every repository publishes under the last component of its path.

``sourcepulse.repository``
  The name of this repository, instead of the one that ``root`` gives.

``sourcepulse.source``
  Who the events come from: ``hg://HOST`` gets the name of the repository appended, ``hg://HOST/some/path`` is
  taken as it is. Default: ``hg://`` and the name of this machine.

``sourcepulse.repo_url``
  Where others pull from, told in the events; ``{repo}`` stands for the name of the repository.

``sourcepulse.visibility``
  ``public``, ``restricted`` or ``auto``: restricted if ``web.allow_read`` or ``web.deny_read`` names anyone.
  Restricted events have a stream, an exchange and a broker of their own. Default: ``auto``.

``sourcepulse.publish``
  With ``no`` this repository says nothing, for instance a mirror of one that publishes. Default: yes.

``sourcepulse.role``
  ``mirror``: this repository tells nothing of its own, but after each pull what the repository it pulls from told,
  with the same ids, as soon as it has the changesets. That one needs ``mirrors``, and ``source`` is the same
  here as there. Default: ``origin``.

``sourcepulse.mirrors``
  With ``yes`` whoever may pull may read the last 500 public events, as a mirror does. Default: no.

``sourcepulse.detail``
  ``files``: changesets with their files; ``changesets``: without them; ``refs``: only counts, first and last
  changeset and heads. Default: ``files``.

``sourcepulse.max_changesets``
  How many changesets an event lists; for the rest it has the count and a query. Default: 100.

``sourcepulse.commits``
  Whether what is done in the repository itself is published, too: local commits and pulls, local changes of
  bookmarks, tags and phases. With ``no`` only what others push or unbundle is. Default: yes. In a system-wide
  hgrc set ``root`` as well, so that the clones of the users of this machine do not publish.

``sourcepulse.on_error``
  What happens if the first copy cannot be written, for instance on a full disk: ``refuse`` rolls the push
  back, as Mercurial does when it cannot write its own files; ``lose`` lets it pass and notes it in
  ``.hg/sourcepulse/lost``. Default: ``refuse``.

``sourcepulse.auto_recover``
  With ``yes`` a transaction that a dead process left unfinished is taken back before the next one, as
  :hg:`recover` does, instead of refusing all pushes until an admin does so. Default: no.

``sourcepulse.tree_admins``, ``sourcepulse.tree_users``, ``sourcepulse.tree_closed_words``,
``sourcepulse.tree_approval_words``, ``sourcepulse.tree_command``, ``sourcepulse.tree_unreachable``
  Who may close the tree and who and what passes a closed one, see :hg:`help treestatus`.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

PACKAGE = "sourcepulse_hg"
CORE = "sourcepulse"

testedwith = b"6.3 7.2"
minimumhgversion = b"6.3"
buglink = b"the developers of sourcepulse, see its README.md"

#: After the hooks of the user (`001-userhooks`) and everything else that may still veto.
VALIDATOR = b"~sourcepulse"
#: What Mercurial keeps of a transaction besides its changesets (`tr.changes`) and we tell.
_CHANGES = (b"bookmarks", b"phases", b"obsmarkers", b"sourcepulse-tree")
#: After the hooks of the user, before ours that writes the events.
_GATE = b"|sourcepulse-tree"


def __getattr__(name: str) -> Any:
    # Mercurial asks for these by name; the collector imports this package where there is no Mercurial.
    if name in ("cmdtable", "configtable"):
        return getattr(_ours("commands.declarations"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def extsetup(ui: Any) -> None:
    """Watch what strips, whoever calls it, and what pulls."""
    del ui
    from mercurial import exchange, extensions, repair

    # The command, or amend, rebase and histedit without evolution.
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
        try:
            _ours("mirror").tell_mirrored(repo, remote)
        except Exception as error:  # noqa: BLE001 - half an installation is no reason to spoil a pull
            repo.ui.warn(b"sourcepulse: what was pulled is not published: %s\n" % _bytes(error))
    return result


def _serve_mirrors(repo: Any) -> None:
    """Have Mercurial answer for our keys; once for all repositories of this process, each decides for itself."""
    from mercurial import pushkey

    def list_events(repo: Any) -> Any:
        return _ours("mirror").list_events(repo)

    if repo.ui.config(b"sourcepulse", b"mirrors"):
        pushkey.register(b"sourcepulse", lambda *_: False, list_events)


def reposetup(ui: Any, repo: Any) -> None:
    """Watch the transactions of a local repository."""
    del ui
    if not repo.local():
        return
    _serve_mirrors(repo)

    class WatchedRepository(repo.__class__):  # type: ignore[misc] # the class is known at run time only
        #: The hook looks for this and leaves the work to us.
        sourcepulse_watches = True

        def transaction(self, *args: Any, **kwargs: Any) -> Any:
            outermost = self.currenttransaction() is None
            if outermost and self.svfs.exists(b"journal"):
                _recover_abandoned(self.unfiltered())
            removal = _removal(self) if outermost and _is_removing(self) else None
            if removal is not None:
                removal.transaction_begins(self.unfiltered(), args[0] if args else kwargs.get("desc", b""))
            tr = super().transaction(*args, **kwargs)
            if removal is not None:
                removal.transaction_began(self.unfiltered(), tr)
            if outermost:
                repo = self.unfiltered()
                _note_begin(repo, args[0] if args else kwargs.get("desc", b""))
                tr.addvalidator(_GATE, _gate(repo))
                tr.addvalidator(VALIDATOR, _validator(repo))
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

    repo.__class__ = WatchedRepository


def _validator(repo: Any) -> Any:
    import weakref

    # A strong reference would make a cycle: repository, transaction, callback.
    reference = weakref.ref(repo)

    def validate(tr: Any) -> None:
        here = reference()
        if here is None:
            return
        _note_seen(here, tr)
        if not _changed_anything(here, tr):
            return
        try:
            record = _ours("transaction.record").record
        except Exception as error:  # noqa: BLE001 - half an installation is no reason to refuse a push
            here.ui.warn(b"sourcepulse: the push is not published: %s\n" % _bytes(error))
            return
        record(here, tr)

    return validate


def _gate(repo: Any) -> Any:
    import weakref

    reference = weakref.ref(repo)

    def guard(tr: Any) -> None:
        here = reference()
        if here is not None and _changed_anything(here, tr) and _ours("tree.file").has_state(here):
            _ours("tree.gate").guard(here, tr)

    return guard


def _changed_anything(repo: Any, tr: Any) -> bool:
    """Return whether a transaction did what we tell of; that of an empty push, for one, did nothing."""
    changes = tr.changes
    return len(repo.changelog) > changes[b"origrepolen"] or any(map(changes.get, _CHANGES))


def _is_removing(repo: Any) -> bool:
    """Return whether changesets are being removed, or somebody died over it; the names are those of removal.py."""
    path = os.path.join(repo.sharedpath, b"sourcepulse", b"removing")
    return hasattr(repo, "sourcepulse_stripping") or os.path.exists(path)


def _removal(repo: Any) -> Any:
    try:
        return _ours("strip.removal")
    except Exception as error:  # noqa: BLE001 - half an installation is no reason to refuse anything
        repo.ui.warn(b"sourcepulse: what is removed is not published: %s\n" % _bytes(error))
        return None


def _recover_abandoned(repo: Any) -> None:
    try:
        _ours("transaction.before").recover_abandoned(repo)
    except Exception as error:  # noqa: BLE001 - Mercurial refuses the transaction, as without us
        repo.ui.warn(b"sourcepulse: the abandoned transaction stays: %s\n" % _bytes(error))


def _note_seen(repo: Any, tr: Any) -> None:
    """Keep how far we have seen the changelog, also where nothing of it is published."""
    try:
        is_known = repo.svfs.exists(b"sourcepulse-seen")
        if len(repo.changelog) != tr.changes[b"origrepolen"] or (not is_known and len(repo.changelog)):
            _ours("transaction.seen").note_seen(repo, tr)
    except Exception:  # noqa: BLE001 - then the next transaction does
        return


def _note_begin(repo: Any, name: bytes) -> None:
    try:
        _ours("transaction.before").note_begin(repo, name)
    except Exception:  # noqa: BLE001 - half an installation is told when there is something to publish
        return


def changegroup(ui: Any, repo: Any, **kwargs: Any) -> bool:
    """Publish a push from `[hooks] changegroup.sourcepulse = python:sourcepulse_hg.changegroup`.

    The guarantee is weaker than that of the extension: Mercurial calls this after the commit, so what a process
    that is killed in between leaves is told with the next push. It never raises and never returns true, so it
    cannot make a push fail.
    """
    try:
        _ours("changegroup_hook.hook").changegroup(ui, repo, **kwargs)
    except Exception as error:  # noqa: BLE001 - the push is committed; nothing of ours may spoil its reply
        ui.warn(b"sourcepulse: the push is not published: %s\n" % _bytes(error))
    return False


def _bytes(error: Exception) -> bytes:
    return repr(error).encode("utf-8", "replace")


def _ours(module: str) -> Any:
    """Import a module of this package, wherever Mercurial loaded this file from, and whole.

    Mercurial's lazy importer is put aside: what it postpones would be loaded in the middle of a commit, by
    several threads of a server at once.
    """
    import importlib

    import hgdemandimport

    with hgdemandimport.deactivated():
        _settle()
        return importlib.import_module(f"{PACKAGE}.{module}")


def _settle() -> None:
    """Register this package and the core under their true names, without touching `sys.path`.

    In the path form Mercurial calls this module `hgext_sourcepulse_hg` or the like, and its Python may know
    nothing of the place where sourcepulse is installed. Putting that place on `sys.path` would let every
    other package there shadow Mercurial's own.
    """
    here = os.path.dirname(os.path.realpath(__file__))
    if PACKAGE not in sys.modules:
        module = sys.modules[__name__]
        module.__path__ = [here]
        sys.modules[PACKAGE] = module
    if CORE in sys.modules:
        return
    above = os.path.dirname(here)
    # Installed, the core is our sibling; in a checkout it is in shared/.
    for folder in (os.path.join(above, CORE), os.path.join(os.path.dirname(above), "shared", CORE)):
        init = os.path.join(folder, "__init__.py")
        if os.path.isfile(init):
            _register(CORE, init, folder)
            return


def _register(name: str, init: str, folder: str) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
