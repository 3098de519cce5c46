# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The events of one transaction: their order, what they share, and that each kind stands for itself."""

from __future__ import annotations

import pytest

from support.hg.sites import Repository, Site

_EVOLUTION = "[experimental]\nevolution = createmarkers, exchange, allowunstable\n"
#: Every type that lies inside an ordinary transaction, in the order of the event contract.
_ORDER = [
    "hg.push.v1",
    "hg.bookmark.created.v1",
    "hg.bookmark.moved.v1",
    "hg.bookmark.deleted.v1",
    "hg.tag.created.v1",
    "hg.tag.moved.v1",
    "hg.tag.deleted.v1",
    "hg.branch.created.v1",
    "hg.head.created.v1",
    "hg.head.closed.v1",
    "hg.phase.changed.v1",
    "hg.obsolete.created.v1",
]

#: Does to one repository, in one transaction, all that there are events for.
_EVERYTHING = """\
from mercurial import cmdutil, context, obsolete, phases, registrar
cmdtable = {}
command = registrar.command(cmdtable)

@command(b"everything", [], b"")
def everything(ui, repo):
    def commit(parent, branch, tags, extra=()):
        def tag_file(repo, memctx, path):
            return context.memfilectx(repo, memctx, path, tags)
        made = context.memctx(repo, (parent, repo.nullid), b"change", [b".hgtags"], tag_file, b"user", b"0 0",
                              {b"branch": branch, **dict(extra)})
        return made.commit()
    base, second = repo[0].node(), repo[1].node()
    with repo.wlock(), repo.lock(), repo.transaction(b"everything") as tr:
        def line(node, name):
            return b"%s %s\\n" % (node.hex().encode(), name)
        old = repo[1][b".hgtags"].data()
        new = old + line(base, b"new") + line(second, b"moved") + line(repo.nullid, b"gone")
        one = commit(second, b"branch", new)
        closed = commit(one, b"branch", new + b"\\n", [(b"close", b"1")])
        repo._bookmarks.applychanges(repo, tr, [(b"new", one), (b"moved", one), (b"gone", None)])
        phases.advanceboundary(repo, tr, phases.public, [base])
        obsolete.createmarkers(repo, [(repo[second], (repo[closed],))])
"""


@pytest.fixture
def busy_site(each_site: Site) -> Site:
    (each_site.folder / "everything.py").write_text(_EVERYTHING, encoding="utf-8")
    return each_site


def _other(site: Site, more: str = "") -> str:
    return f"{_EVOLUTION}[extensions]\neverything = {site.folder}/everything.py\n{more}"


def test_a_transaction_that_does_everything_is_published_in_the_order_of_the_contract(busy_site: Site) -> None:
    server = _prepared(busy_site)
    server.hg("everything")
    events = server.last_transaction()
    assert [event.type for event in events] == _ORDER
    assert len({event.data["change_set"] for event in events}) == 1
    assert len({event.id for event in events}) == len(events)
    assert {event.data["source"] for event in events} == {"everything"}
    assert server.first_copies() == []


@pytest.mark.parametrize(
    ("module", "function", "what", "lost"),
    [
        ("bookmarks", "changed_bookmarks", "bookmarks", "hg.bookmark."),
        ("tags", "changed_tags_of", "tags", "hg.tag."),
        ("heads", "changed_heads", "branches and heads", ("hg.branch.", "hg.head.")),
        ("phases_and_markers", "changed_phases", "phase changes", "hg.phase."),
        ("phases_and_markers", "new_markers", "obsolescence markers", "hg.obsolete."),
        ("changesets", "added_changesets", "changesets", "hg.push."),
    ],
)
def test_a_fault_in_one_kind_is_reported_and_loses_no_other(
    site: Site, module: str, function: str, what: str, lost: str | tuple[str, ...]
) -> None:
    (site.folder / "everything.py").write_text(_EVERYTHING, encoding="utf-8")
    server = _prepared(site)
    fault = site.folder / "fault.py"
    fault.write_text(
        "def reposetup(ui, repo):\n"
        f"    from sourcepulse_hg.gather import {module}\n"
        "    def fail(*args, **kwargs):\n        raise ArithmeticError('made for a test')\n"
        f"    {module}.{function} = fail\n",
        encoding="utf-8",
    )
    result = server.hg("everything", "--config", f"extensions.fault={fault}")
    assert f"the {what} of this transaction are not published: ArithmeticError" in result.stderr
    assert "ArithmeticError('made for a test')" in (server.path / ".hg/sourcepulse/lost").read_text(encoding="utf-8")
    assert [event.type for event in server.last_transaction()] == [
        type_ for type_ in _ORDER if not type_.startswith(lost)
    ]


def _prepared(site: Site) -> Repository:
    server = site.server(other=_other(site))
    server.commit("base", name="base")
    (base,) = server.nodes()
    (server.path / ".hgtags").write_text(f"{base} moved\n{base} gone\n", encoding="ascii")
    server.hg("commit", "--addremove", "--message", "tags")
    server.hg("bookmark", "--rev", "0", "moved", "gone")
    return server
