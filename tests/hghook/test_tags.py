# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Tags are published by the changesets that write them, against their first parent."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.events.event import event_id
from sourcepulse_hg.gather.tags import TagMove, add_lines, appended, changed_tags, parse_lines, targets_of
from support.hg.sites import Repository, Site

_A, _B, _NULL = b"a" * 40, b"b" * 40, b"0" * 40


def _tags(server: Repository, kind: str) -> list[dict[str, Any]]:
    return [tag for event in server.events(of=f"hg.tag.{kind}.v1") for tag in event.data["tags"]]


def _line(node: bytes, name: bytes = b"t") -> bytes:
    return node + b" " + name + b"\n"


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        (b"", _line(_A), [TagMove(b"t", None, _A)]),
        (_line(_A), _line(_A) + _line(_B), [TagMove(b"t", _A, _B)]),
        # As `hg tag --force` and `hg tag --remove` write it: the old target once more, then the new one.
        (_line(_A), _line(_A) + _line(_A) + _line(_B), [TagMove(b"t", _A, _B)]),
        (_line(_A), _line(_A) + _line(_A) + _line(_NULL), [TagMove(b"t", _A, None)]),
        (_line(_A) + _line(_NULL), _line(_A) + _line(_NULL) + _line(_A), [TagMove(b"t", None, _A)]),
        # Back to where it was: no line is new by itself, but there is one more of it.
        (_line(_A) + _line(_B), _line(_A) + _line(_B) + _line(_B) + _line(_A), [TagMove(b"t", _B, _A)]),
        (_line(_A), _line(_A) + _line(_A), []),
        (_line(_A), _line(_B), [TagMove(b"t", _A, _B)]),
        # Only lines that are new count.
        (_line(_A) + _line(_B), _line(_A), []),
        (_line(_A), b"", []),
        # A merge puts lines in the middle.
        (_line(_A) + _line(_A, b"z"), _line(_A) + _line(_B, b"m") + _line(_A, b"z"), [TagMove(b"m", None, _B)]),
        # Without a line break at its end, and with Windows' own.
        (_line(_A).strip(), _line(_A) + _line(_B), [TagMove(b"t", _A, _B)]),
        (b"", _A + b" t\r\n" + _B + b" u\r\n", [TagMove(b"t", None, _A), TagMove(b"u", None, _B)]),
        (b"", _line(_A.upper(), b" a name "), [TagMove(b"a name", None, _A)]),
        (b"", b"nonsense\n\n \n" + _A + b"\n" + _A + b" \n" + b"abcd t\n" + b"z" * 40 + b" t\n<<<<<<< local\n", []),
        (b"", _line(_A, b"J\xfcrgen"), [TagMove(b"J\xfcrgen", None, _A)]),
    ],
)
def test_new_lines_say_what_became_of_their_tags(old: bytes, new: bytes, moves: list[TagMove]) -> None:
    assert changed_tags(old, new) == moves


_LINES = st.lists(
    st.tuples(st.sampled_from([_A, _B, _NULL]), st.sampled_from([b"t", b"u", b"v w"])).map(lambda line: _line(*line)),
    max_size=8,
).map(b"".join)


@given(_LINES, _LINES)
def test_appending_finds_the_same_as_comparing(old: bytes, more: bytes) -> None:
    targets = targets_of(parse_lines(old))
    added = appended(old, old + more)
    assert added == more
    assert add_lines(targets, parse_lines(added)) == changed_tags(old, old + more)
    assert targets == targets_of(parse_lines(old + more))


@given(_LINES, _LINES)
def test_a_tag_is_published_only_if_its_last_line_changed_and_is_there(old: bytes, new: bytes) -> None:
    before, after = targets_of(parse_lines(old)), targets_of(parse_lines(new))
    for name, oldnode, node in changed_tags(old, new):
        assert (before.get(name) or _NULL) == (oldnode or _NULL)
        assert after[name] == (node or _NULL)
        assert oldnode != node


def test_created_moved_and_removed_tags_are_published_with_their_push(each_site: Site) -> None:
    server = each_site.server("srv/one", f"root = {each_site.folder}/srv\nsource = hg://host")
    work = each_site.repository("work")
    work.commit("base", name="base")
    work.commit("next", name="next")
    work.hg("tag", "--rev", "0", "v1")
    work.push_ssh(server)
    base, following, tagged = work.nodes()
    created = server.event("hg.tag.created.v1")
    assert created.source == "hg://host/one"
    assert created.routing_key == "hg.tag.created.one"
    assert created.id == event_id("hg://host/one", "hg.tag.created.v1", created.data["change_set"])
    assert created.data["tags"] == [{"tag": "v1", "node": base, "oldnode": None, "changeset": tagged}]
    assert (created.data["user"], created.data["source"], created.data["url"]) == ("sshuser", "serve", "remote:ssh")
    work.hg("tag", "--force", "--rev", "1", "v1")
    work.hg("tag", "--rev", "1", "v2")
    work.hg("tag", "--remove", "v1")
    work.push_ssh(server)
    moving, second, removing = work.nodes()[3:]
    assert [event.type for event in server.last_transaction()] == [
        "hg.push.v1",
        "hg.tag.created.v1",
        "hg.tag.moved.v1",
        "hg.tag.deleted.v1",
    ]
    assert _tags(server, "created")[1:] == [{"tag": "v2", "node": following, "oldnode": None, "changeset": second}]
    assert _tags(server, "moved") == [{"tag": "v1", "node": following, "oldnode": base, "changeset": moving}]
    assert _tags(server, "deleted") == [{"tag": "v1", "node": None, "oldnode": following, "changeset": removing}]


def test_a_tag_made_on_the_server_is_published_and_a_local_tag_is_not(each_site: Site) -> None:
    server = each_site.server()
    server.commit()
    server.hg("tag", "--local", "mine")
    server.hg("tag", "everybodys")
    assert [tag["tag"] for tag in _tags(server, "created")] == ["everybodys"]


def test_a_merge_publishes_the_tags_that_are_new_against_its_first_parent(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit("base", name="base")
    work.hg("tag", "--rev", "0", "left")
    work.hg("update", "--rev", "0")
    work.hg("tag", "--force", "--rev", "0", "right")
    work.hg("merge", "--tool", "internal:union")
    work.hg("commit", "--message", "merge")
    work.push(server)
    _, left, right, merge = work.nodes()
    assert [(tag["tag"], tag["changeset"]) for tag in _tags(server, "created")] == [
        ("left", left),
        ("right", right),
        # The merge touched the file; its first parent, the one it was made on, has not the other's line.
        ("left", merge),
    ]


def test_a_tag_name_that_is_not_utf8_and_broken_lines_do_no_harm(each_site: Site) -> None:
    server = each_site.server()
    work = each_site.repository("work")
    work.commit("base", name="base")
    (node,) = work.nodes()
    (work.path / ".hgtags").write_bytes(b"broken\n" + node.encode() + b" caf\xe9\n")
    work.hg("commit", "--addremove", "--message", "by hand")
    work.push(server)
    event = server.event("hg.tag.created.v1")
    assert [tag["tag"] for tag in event.data["tags"]] == ["caf\ufffd"]
    assert event.data["raw"] == [{"field": "/tags/0/tag", "base64": base64.b64encode(b"caf\xe9").decode()}]


def test_more_tags_than_an_event_lists_are_counted(site: Site) -> None:
    server = site.server()
    work = site.repository("work")
    work.commit("base", name="base")
    (node,) = work.nodes()
    (work.path / ".hgtags").write_text("".join(f"{node} tag{number}\n" for number in range(1500)))
    work.hg("commit", "--addremove", "--message", "many")
    work.push(server)
    data = server.event("hg.tag.created.v1").data
    assert data["truncated"] == [{"field": "/tags", "kept": 1000, "total": 1500}]
    assert [tag["tag"] for tag in data["tags"]] == [f"tag{number}" for number in range(1000)]


def test_the_tag_of_a_changeset_that_was_rewritten_is_published_by_its_successor(each_site: Site) -> None:
    server = each_site.server()
    server.commit()
    server.hg("tag", "v1")
    # The file is the same, so Mercurial stores no new revision of it.
    server.hg("commit", "--amend", "--message", "another message")
    published = _tags(server, "created")
    assert [tag["tag"] for tag in published] == ["v1", "v1"]
    assert published[1]["changeset"] == server.nodes("tip")[0]


def test_tags_of_secret_changesets_appear_with_them(each_site: Site) -> None:
    server = each_site.server(other="[phases]\nnew-commit = secret")
    server.commit()
    server.hg("tag", "v1")
    assert server.every_event() == []
    server.hg("phase", "--draft", "--rev", "tip")
    assert [tag["tag"] for tag in _tags(server, "created")] == ["v1"]
