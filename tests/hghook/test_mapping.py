# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pure parts: changelog entries, who acted and from where, and that every event fits its limits."""

from __future__ import annotations

import json
import os
import pwd

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.events.event import EVENT_MAX_BYTES
from sourcepulse.events.wire import decode, encode
from sourcepulse_hg.facts import (
    Act,
    Added,
    Changeset,
    Emitter,
    Entry,
    acting_user,
    is_published,
    parse_entry,
    public_url,
    source_word,
)
from sourcepulse_hg.mapping.events import push_event, source_uri
from support.events.schema_check import check_data

_NODE = "1f" * 20


def _text(user: bytes = b"u", date: bytes = b"1 2", files: bytes = b"", desc: bytes = b"d") -> bytes:
    return b"\n".join([b"0" * 40, user, date, *([files] if files else [])]) + b"\n\n" + desc


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (b"", Entry(b"", (0, 0), b"default", False, [], b"", {})),
        (_text(), Entry(b"u", (1, 2), b"default", False, [], b"d", {})),
        (_text(files=b"a\nb c"), Entry(b"u", (1, 2), b"default", False, [b"a", b"b c"], b"d", {})),
        (_text(desc=b"one\n\ntwo"), Entry(b"u", (1, 2), b"default", False, [], b"one\n\ntwo", {})),
        (
            _text(date=b"5 -3600 branch:st able\0close:1"),
            Entry(b"u", (5, -3600), b"st able", True, [], b"d", {b"branch": b"st able", b"close": b"1"}),
        ),
        (
            _text(date=b"5 0 amend_source:x\\\\y\0branch:a"),
            Entry(b"u", (5, 0), b"a", False, [], b"d", {b"amend_source": b"x\\y", b"branch": b"a"}),
        ),
        # Some early tools wrote fractions, or no zone at all.
        (_text(date=b"5.75 0"), Entry(b"u", (5, 0), b"default", False, [], b"d", {})),
        (_text(date=b"5"), Entry(b"u", (5, 0), b"default", False, [], b"d", {})),
        (_text(date=b"-7 nonsense"), Entry(b"u", (-7, 0), b"default", False, [], b"d", {})),
    ],
)
def test_a_changelog_entry_is_taken_apart_byte_for_byte(text: bytes, entry: Entry) -> None:
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    ("url", "public"),
    [
        (None, None),
        (b"", None),
        (b"remote:ssh:192.0.2.1", "remote:ssh"),
        (b"remote:http:192.0.2.1:alice", "remote:http"),
        (b"remote:https:2001%3Adb8%3A%3A1:", "remote:https"),
        (b"file:/srv/hg/secret-path", "file"),
        (b"/srv/hg/secret-path", "file"),
        (b"file:///srv/hg/secret-path", "file"),
        (b"bundle:/tmp/x.hg", "bundle"),
        (b"bundle2:/tmp/x.hg", "bundle"),
        (b"https://user:pw@hg.example.org/repo?token=s3cret#frag", "https://hg.example.org/repo"),
        (b"ssh://hg@host:2222//srv/repo", "ssh://host:2222//srv/repo"),
        (b"https://a@b@host/x", "https://host/x"),
    ],
)
def test_no_client_address_path_or_credential_gets_through(url: bytes | None, public: str | None) -> None:
    assert public_url(url) == public


_ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name.encode()


@pytest.mark.parametrize(
    ("environment", "url", "user"),
    [
        ({b"REMOTE_USER": b"r", b"USER": b"u"}, b"remote:ssh:1", b"r"),
        ({b"USER": b"u", b"LOGNAME": b"l"}, b"remote:ssh:1", b"u"),
        ({b"LOGNAME": b"l"}, None, b"l"),
        # sshd says so that the command is its own; else the owner of the account chose what is in the environment.
        ({b"REMOTE_USER": b"r", b"SSH_CONNECTION": b"c", b"SSH_ORIGINAL_COMMAND": b"o"}, b"remote:ssh:1", b"r"),
        ({b"REMOTE_USER": b"r", b"USER": b"r", b"SSH_CONNECTION": b"c"}, b"remote:ssh:1", _ACCOUNT),
        ({b"USER": b"u", b"SSH_CONNECTION": b"c"}, None, b"u"),
        ({"REMOTE_USER": "w", "SSH_CONNECTION": "c"}, b"remote:http:1:", b"w"),
        # The request's environment as WSGI has it, and the account of the web server, which did not push.
        ({"REMOTE_USER": "J\xfcrgen", "USER": "www-data"}, b"remote:http:1:x", b"J\xfcrgen"),
        ({"USER": "www-data"}, b"remote:http:192.0.2.1:al%40ice", b"al@ice"),
        ({"USER": "www-data"}, b"remote:https:192.0.2.1:", None),
    ],
)
def test_the_user_is_who_acted(environment: dict[object, object], url: bytes | None, user: bytes | None) -> None:
    assert acting_user(environment, url) == user


def test_without_commits_only_what_others_bring_is_published() -> None:
    # The last three are the transactions of clients that know no bundle2.
    from_others = [b"serve", b"push", b"unbundle", b"bookmarks", b"pushkey-phase", b"pushkey:"]
    words = [*from_others, b"pull", b"commit", b"bookmark", b"phase", b"strip", None]
    assert [word for word in words if is_published(word, commits=False)] == from_others
    assert is_published(b"commit", commits=True)
    assert not is_published(b"strip", commits=True)
    assert source_word(None, b"pull\nhttps://host/") == b"pull"
    assert source_word(b"serve", b"whatever") == b"serve"
    assert source_word(None, b"") is None


@pytest.mark.parametrize(
    ("configured", "uri"),
    [
        ("hg://host", "hg://host/a/b%20c"),
        ("hg://host/", "hg://host/a/b%20c"),
        ("hg://host:8000", "hg://host:8000/a/b%20c"),
        ("hg://host/x", "hg://host/x"),
        ("hg://host/x/y", "hg://host/x/y"),
    ],
)
def test_a_host_gets_the_name_and_a_path_stays(configured: str, uri: str) -> None:
    assert source_uri(configured, b"a/b c", restricted=False) == uri
    assert source_uri(configured, b"a/b c", restricted=True) == uri + "?restricted"


_BYTES = st.binary(max_size=40) | st.builds(
    lambda part, times: part * times, st.binary(max_size=9), st.integers(0, 30_000)
)
_LINES = st.binary(max_size=300).map(lambda line: line.replace(b"\n", b" ").replace(b"\r", b" "))
_CHANGESETS = st.builds(
    lambda user, branch, files, desc: Changeset(
        _NODE,
        (_NODE,),
        b"\n".join([b"0" * 40, user, b"1 2 branch:" + branch.replace(b"\\", b"/"), *files]) + b"\n\n" + desc,
        "draft",
    ),
    _LINES,
    _LINES.map(lambda name: name.replace(b"\0", b"")),
    st.lists(_LINES.filter(bool), max_size=8).map(lambda names: names * 60),
    _BYTES,
)


@given(
    changesets=st.lists(_CHANGESETS, max_size=12),
    name=st.lists(
        st.binary(min_size=1, max_size=80).map(lambda part: part.replace(b"/", b"")).filter(bool), min_size=1
    ),
    user=st.none() | _LINES,
    detail=st.sampled_from(["files", "changesets", "refs"]),
    unlisted=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=60)
def test_every_push_fits_its_limit_its_schema_and_the_wire(
    changesets: list[Changeset], name: list[bytes], user: bytes | None, detail: str, unlisted: int
) -> None:
    path = b"/".join(name)[:300].strip(b"/") or b"x"
    total = len(changesets) + unlisted + (not changesets)
    heads = tuple((_NODE, changeset.text) for changeset in changesets) or ((_NODE, b""),)
    added = Added(total, _NODE, _NODE, heads, len(heads), f"{_NODE}::{_NODE}", iter(changesets))
    emitter = Emitter(path, source_uri("hg://host", path, restricted=False), None, detail, 100)
    act = Act("TXN:" + "0" * 40, 1.0, user, b"serve", "remote:ssh")
    event = push_event(act, added, emitter)
    body = encode(event)
    assert len(body) <= EVENT_MAX_BYTES
    assert decode(body, routing_key=event.routing_key) == event
    check_data(event)
    assert event.data["count"] == total
    listed = len(event.data["changesets"])
    assert (event.data["query"] is None) == (listed == total)
    cuts = {cut["field"]: cut for cut in json.loads(body)["data"]["truncated"]}
    assert ("/changesets" in cuts) == (listed < total)
    if listed < total:
        assert cuts["/changesets"] == {"field": "/changesets", "kept": listed, "total": total}
