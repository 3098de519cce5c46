# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The configuration items and commands that the extension declares to Mercurial."""

from __future__ import annotations

from typing import Any

from mercurial import cmdutil, registrar

from sourcepulse_hg.commands.setting_keys import KEYS, SECTION

configtable: dict[bytes, Any] = {}
_configitem = registrar.configitem(configtable)
for _key in KEYS:
    _configitem(SECTION, _key, default=None)

cmdtable: dict[bytes, Any] = {}
_command = registrar.command(cmdtable)


@_command(  # type: ignore[untyped-decorator] # mercurial has no types
    b"sourcepulse-recover",
    [(b"", b"after", b"", b"also publish the changesets behind this one", b"REV")],
    b"[--after REV]",
    helpcategory=registrar.command.CATEGORY_MAINTENANCE,
)
def recover(ui: Any, repo: Any, **opts: Any) -> int:
    """move events that a crash left behind to the outbox

    After a crash the events of committed transactions wait in the repository. The next push collects them,
    and so does a running relay; this command does it now and reports what it found.

    After the outbox was restored from a backup, --after names the last changeset of which the backup has the push.
    All changesets behind it are published in one event, marked as recovered; those of bookmarks, phases and
    markers cannot be found again.

    Returns 0 if nothing is left, 1 if something needs attention.
    """
    from sourcepulse_hg.commands.recover import recover_now

    return recover_now(ui, repo, after=bytes(opts["after"]))


@_command(  # type: ignore[untyped-decorator] # as above
    b"sourcepulse-check", [], b"", helpcategory=registrar.command.CATEGORY_MAINTENANCE
)
def check(ui: Any, repo: Any) -> int:
    """check whether this repository publishes its events

    Prints one line each for the settings, the name of the repository, its outbox, the broker and the relay. Run it as
    a user that pushes.

    Returns 0 if all is well, 1 if something prevents events from being published.
    """
    from sourcepulse_hg.commands.check import check as check_now

    return check_now(ui, repo)


@_command(  # type: ignore[untyped-decorator] # as above
    b"sourcepulse-adopt",
    [
        (b"", b"announce", None, b"publish them: this repository replaces the other"),
        (b"", b"discard", None, b"delete them: the other repository publishes them"),
    ],
    b"[--announce | --discard]",
    helpcategory=registrar.command.CATEGORY_MAINTENANCE,
)
def adopt(ui: Any, repo: Any, **opts: Any) -> int:
    """publish or delete events that came with a copied or restored repository

    Events that wait in the files of a repository belong to it. In a copy of these files (cp, rsync, a restored
    backup) they are not published, because the original may publish them. Without options this command lists them.

    With --announce they are published from here, unchanged: a repeat has the same id, so subscribers can drop it.
    With --discard they are deleted. New pushes are published in any case.

    Returns 0 if no such events are left, 1 otherwise.
    """
    from sourcepulse_hg.commands.adopt import adopt as adopt_now

    return adopt_now(ui, repo, announce=bool(opts["announce"]), discard=bool(opts["discard"]))


@_command(  # type: ignore[untyped-decorator] # as above
    b"treestatus",
    [
        (b"", b"close", b"", b"refuse pushes for this reason", b"REASON"),
        (b"", b"approval", b"", b"refuse unapproved pushes for this reason", b"REASON"),
        (b"", b"open", None, b"accept pushes"),
        (b"", b"until", b"", b"reopen the tree at this time", b"DATE"),
        *cmdutil.formatteropts,
    ],
    b"[--close REASON | --approval REASON | --open] [--until DATE]",
    helpcategory=registrar.command.CATEGORY_MAINTENANCE,
)
def treestatus(ui: Any, repo: Any, **opts: Any) -> int:
    """show or set whether this repository accepts pushes

    A closed tree refuses every push, whether it changes changesets, bookmarks, phases or markers. A tree that
    requires approval accepts a push if the description of its last changeset names the approval. Commits in the
    repository itself and pulls into it are not affected. Each change of the state, and each refused push, is an event.

    With --until the tree opens at that time, see :hg:`help dates`; the event ``hg.tree.opened`` is published with
    the next push or the next run of this command.

    The section ``[sourcepulse]`` sets who may push to a closed tree, and who may set the state::

      [sourcepulse]
      tree_admins = alice, bob
      tree_users = release-bot
      tree_closed_words = CLOSED TREE
      tree_approval_words =
        (?i)\\ba\\S*=
        (?i)^(back(ed|ing|s)?[ _-]*out|revert)

    Each line of ``tree_closed_words`` and ``tree_approval_words`` is a Python regular expression that is searched
    in the description of the last changeset of a push. Without any, only ``tree_users`` may push. Without
    ``tree_admins`` every user who can run this command here may set the state.

    ``tree_command`` asks a service instead: a shell command that prints JSON with ``status`` and ``reason``, or a
    line such as ``closed: reason``, within 5 seconds. If it fails, the tree has the state that
    ``tree_unreachable`` sets (``closed``, which is the default, or ``open``).

    Returns 0.
    """
    from sourcepulse_hg.tree.command import tree_status

    return tree_status(ui, repo, opts)
