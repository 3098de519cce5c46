# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bounds: every event fits, says truly what was cut, and keeps the exact bytes of what was no UTF-8."""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.catalogue import check
from sourcepulse.errors import ConfigError, EventError
from sourcepulse.events.event import EVENT_LEAST_MAX_BYTES, Event, Numbers
from sourcepulse.events.json_pointer import escape, order, resolve
from sourcepulse.events.limits import NEVER_CUT, Limits, bound, decode_text, envelope_bytes
from sourcepulse.events.wire import encode, encode_pulse

SMALL = Limits(max_bytes=EVENT_LEAST_MAX_BYTES)
KIB_64 = 64 * 1024
#: "Does not hang": the slowest of these takes a tenth of it, counted without what other processes take.
GENEROUS_SECONDS = 5.0


def sent_bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def changeset(number: int = 1, **members: Any) -> dict[str, Any]:
    node = f"{number:040x}"
    plain = {"node": node, "parents": [node], "author": "a", "date": [1, 0], "branch": "default", "desc": "d"}
    kinds: dict[str, Any] = {"added": None, "modified": None, "removed": None, "copies": None}
    return {**plain, "phase": "public", "files": [], **kinds, "extras": {}, **members}


def push(changesets: list[dict[str, Any]], **members: Any) -> dict[str, Any]:
    node = "0" * 40
    common = {"repo": "r", "repo_url": None, "user": None, "source": "serve", "url": None, "change_set": "TXN:1"}
    own: dict[str, Any] = {"count": 1, "first": node, "last": node, "heads": [], "query": None}
    return {**common, **own, "changesets": changesets, "recovered": False, "truncated": [], "raw": [], **members}


def entries(out: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {entry["field"]: (entry["kept"], entry["total"]) for entry in out["truncated"]}


def raws(out: dict[str, Any]) -> dict[str, bytes]:
    return {entry["field"]: base64.b64decode(entry["base64"]) for entry in out["raw"]}


def bad_byte_by_byte(raw: bytes) -> str:
    """Read UTF-8 the slow way: the shortest valid character at each place, else one U+FFFD for one byte."""
    out = ""
    place = 0
    while place < len(raw):
        for size in (1, 2, 3, 4):
            try:
                out += raw[place : place + size].decode()
            except UnicodeDecodeError:
                continue
            place += size
            break
        else:
            out += "\ufffd"
            place += 1
    return out


@given(st.binary(max_size=40) | st.text(max_size=10).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_each_bad_byte_is_one_replacement_character(raw: bytes) -> None:
    text, bad = decode_text(raw)

    assert text == bad_byte_by_byte(raw)
    assert bad == (None if text.encode() == raw else raw)


def test_a_replacement_character_that_the_source_wrote_is_not_a_bad_byte() -> None:
    assert decode_text("\ufffd".encode()) == ("\ufffd", None)


def test_small_data_comes_back_equal_and_untouched() -> None:
    data = push([changeset(files=["a", "b"])])
    before = copy.deepcopy(data)

    out = bound(data)

    assert out == before == data
    out["truncated"].append("x")
    out["query"] = "changed"
    assert data == before


def test_a_push_that_was_cut_still_keeps_to_its_schema_and_its_member_order() -> None:
    data = push([changeset(n, desc="x" * 5_000, author="\ufffd") for n in range(300)])

    out = bound(data, raw={"/changesets/0/author": b"\xff"}, limits=SMALL)

    check("hg.push.v1", out)
    assert list(out) == list(data)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * (KIB_64 + 1), "x" * KIB_64),
        ("é" * KIB_64, "é" * (KIB_64 // 2)),
        ("x" + "é" * KIB_64, "x" + "é" * (KIB_64 // 2 - 1)),
        ("\U0001f600" * 20_000, "\U0001f600" * 16_384),
    ],
    ids=["ascii", "two bytes", "not in the middle of a character", "four bytes"],
)
def test_a_text_keeps_its_first_whole_characters_of_64_kib(text: str, kept: str) -> None:
    out = bound(push([changeset(desc=text)]))

    assert out["changesets"][0]["desc"] == kept
    assert entries(out) == {"/changesets/0/desc": (len(kept.encode()), len(text.encode()))}


def test_a_text_of_exactly_64_kib_is_whole() -> None:
    assert entries(bound(push([changeset(desc="é" * (KIB_64 // 2))]))) == {}


def test_a_tail_keeps_its_last_whole_characters() -> None:
    text = "x" * 1000 + "é" * KIB_64 + "y"
    out = bound({"tail": text, "truncated": [], "raw": []})

    assert out["tail"] == "é" * (KIB_64 // 2 - 1) + "y"
    assert entries(out) == {"/tail": (KIB_64 - 1, 1000 + 2 * KIB_64 + 1)}


def test_lists_have_their_own_limits_by_name() -> None:
    names = [f"f{n}" for n in range(3000)]
    out = bound(
        {**push([changeset(n, files=names) for n in range(101)]), "nodes": names, "heads": names},
        limits=Limits(lists={"changesets": 3, "heads": 5}),
    )

    assert out["nodes"] == names[:1000]
    assert out["heads"] == names[:5]
    assert [one["files"] for one in out["changesets"]] == [names[:200]] * 3
    assert entries(out) == {
        "/nodes": (1000, 3000),
        "/heads": (5, 3000),
        "/changesets": (3, 101),
        **{f"/changesets/{n}/files": (200, 3000) for n in range(3)},
    }


def test_entries_stand_in_order_with_items_by_number() -> None:
    out = bound(push([changeset(n, files=["f"] * 201) for n in range(12)]))

    assert [entry["field"] for entry in out["truncated"]] == [f"/changesets/{n}/files" for n in range(12)]


def test_what_the_caller_cut_before_has_its_real_total() -> None:
    out = bound(
        push([changeset(n) for n in range(100)]),
        cut={"/changesets": 20_000, "/changesets/7/files": 5, "/changesets/8/desc": 9},
    )

    assert entries(out) == {
        "/changesets": (100, 20_000),
        "/changesets/7/files": (0, 5),
        "/changesets/8/desc": (1, 9),
    }


def test_totals_stay_those_of_the_source_through_every_cut() -> None:
    data = push([changeset(n, desc="x" * 100_000) for n in range(150)])

    out = bound(data, cut={"/changesets": 20_000, "/changesets/0/desc": 5_000_000}, limits=SMALL)

    cuts = entries(out)
    assert cuts["/changesets"] == (len(out["changesets"]), 20_000)
    assert len(out["changesets"]) < 100
    assert cuts["/changesets/0/desc"] == (len(out["changesets"][0]["desc"]), 5_000_000)
    assert cuts["/changesets/1/desc"] == (len(out["changesets"][1]["desc"]), 100_000)


def test_what_was_said_of_items_that_got_cut_away_is_gone() -> None:
    author = "\ufffd" * 10
    data = push([changeset(n, author=author, files=["f"] * 201) for n in range(200)])
    raw = {f"/changesets/{n}/author": b"\xff" * 10 for n in range(200)}

    out = bound(data, raw=raw, cut={"/changesets/150/desc": 99}, limits=SMALL)

    kept = len(out["changesets"])
    assert 0 < kept < 100
    assert set(raws(out)) == {f"/changesets/{n}/author" for n in range(kept)}
    assert {field.split("/")[2] for field in entries(out) if field != "/changesets"} == {str(n) for n in range(kept)}


def test_pointers_are_escaped_as_rfc_6901_says() -> None:
    out = bound({"properties": {"a/b~c": "\ufffd" * 70_000}, "truncated": [], "raw": []})

    assert set(entries(out)) == {"/properties/a~1b~0c"}
    assert resolve(out, "/properties/a~1b~0c") == out["properties"]["a/b~c"]


def test_the_raw_bytes_are_those_of_the_part_kept() -> None:
    raw = "é".encode() + b"\xff" * 30_000 + b"x" * 100_000
    text, bad = decode_text(raw)
    assert bad is not None

    out = bound(push([changeset(desc=text)]), raw={"/changesets/0/desc": bad})

    kept = out["changesets"][0]["desc"]
    assert len(kept.encode()) in range(KIB_64 - 2, KIB_64 + 1)
    assert decode_text(raws(out)["/changesets/0/desc"]) == (kept, raws(out)["/changesets/0/desc"])
    assert raw.startswith(raws(out)["/changesets/0/desc"])


def test_the_raw_bytes_of_a_tail_are_its_last() -> None:
    raw = b"x" * 100_000 + b"\xff" * 3 + "é".encode()
    out = bound({"tail": decode_text(raw)[0], "truncated": [], "raw": []}, raw={"/tail": raw})

    assert raw.endswith(raws(out)["/tail"])
    assert decode_text(raws(out)["/tail"])[0] == out["tail"]


def test_a_text_whose_bad_bytes_were_all_cut_away_has_no_raw_entry() -> None:
    raw = b"x" * KIB_64 + b"\xff"

    assert bound(push([changeset(desc=decode_text(raw)[0])]), raw={"/changesets/0/desc": raw})["raw"] == []


def test_bytes_that_are_valid_need_no_entry() -> None:
    assert bound(push([changeset(desc="é")]), raw={"/changesets/0/desc": "é".encode()})["raw"] == []


def test_file_names_in_any_bytes_keep_them() -> None:
    out = bound(push([changeset(files=["a", "\ufffd.c"])]), raw={"/changesets/0/files/1": b"\xe9.c"})

    assert raws(out) == {"/changesets/0/files/1": b"\xe9.c"}


def test_a_single_long_description_is_halved_before_its_changeset_is_lost() -> None:
    out = bound(push([changeset(desc="x" * 60_000, files=["src/file.c"])]), limits=SMALL)

    assert len(out["changesets"]) == 1
    assert out["changesets"][0]["files"] == ["src/file.c"]
    assert entries(out) == {"/changesets/0/desc": (7_500, 60_000)}


def test_many_small_items_are_shortened_as_a_list() -> None:
    out = bound({"nodes": [f"{n:060}" for n in range(999)], "desc": "short", "truncated": [], "raw": []}, limits=SMALL)
    assert entries(out) == {"/nodes": (124, 999)}


def test_ids_counts_and_words_are_never_cut() -> None:
    query = "::".join(["f" * 40] * 64)
    data = push([changeset(n, desc="x" * 70_000) for n in range(100)], query=query, repo="r" * 2_000)

    out = bound(data, limits=SMALL)

    for name in ("repo", "query", "first", "last", "change_set", "count"):
        assert out[name] == data[name]
    for one, whole in zip(out["changesets"], data["changesets"], strict=False):
        assert {**one, "desc": ""} == {**whole, "desc": ""}


def test_nothing_left_to_cut_is_an_event_error() -> None:
    with pytest.raises(EventError, match="nothing is left to cut"):
        bound(push([], repo="r" * 20_000), limits=SMALL)
    with pytest.raises(EventError, match="nothing is left to cut"):
        bound(
            {"properties": {f"{n:0100}": "v" * 60 for n in range(500)}, "truncated": [], "raw": []},
            limits=SMALL,
        )
    with pytest.raises(EventError, match="nothing is left to cut"):
        # A name so long that the entry takes more than the text.
        bound({"p": {"n" * 20_000: "x" * 1_000}, "truncated": [], "raw": []}, limits=SMALL)


def test_data_that_has_no_place_to_say_what_was_cut_is_not_cut() -> None:
    with pytest.raises(EventError, match="no member 'truncated'"):
        bound({"text": "x" * 70_000})
    with pytest.raises(EventError, match="no member 'raw'"):
        bound({"text": "\ufffd", "truncated": []}, raw={"/text": b"\xff"})
    assert bound({"id": 1}) == {"id": 1}


@pytest.mark.parametrize(
    ("raw", "cut", "reason"),
    [
        ({"/desc": b"other\xff"}, {}, "do not match the text"),
        ({"/nowhere": b"\xff"}, {}, "nothing at '/nowhere'"),
        ({"/changesets/9/desc": b"\xff"}, {}, "nothing at"),
        ({}, {"/nowhere/x": 3}, "nothing at"),
        ({}, {"/desc": 1}, "has 4, more than its stated total of 1"),
        ({}, {"/changesets": 0}, "has 1, more than its stated total of 0"),
    ],
)
def test_what_the_caller_says_must_be_true(raw: dict[str, bytes], cut: dict[str, int], reason: str) -> None:
    with pytest.raises(EventError, match=reason):
        bound({**push([changeset()]), "desc": "text"}, raw=raw, cut=cut)


def test_the_list_or_text_that_takes_most_is_the_one_that_is_halved() -> None:
    data = {"a": "x" * 9_000, "nodes": [f"{n:038}" for n in range(250)], "z": "z" * 3_000, "truncated": [], "raw": []}

    out = bound(data, limits=SMALL)

    # The list takes 41 bytes an item, 10,250 in all: more than the text beside it.
    assert entries(out) == {"/nodes": (125, 250), "/a": (4_500, 9_000)}


@pytest.mark.parametrize("value", ["\ud800", "\ud800" * 70_000, float("nan"), b"bytes", {1: 2}])
def test_what_cannot_be_sent_is_an_event_error(value: Any) -> None:
    with pytest.raises(EventError):
        bound(push([changeset(desc=value)]))


def test_nothing_below_16_kib_can_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="the minimum is 16384"):
        bound(push([]), limits=Limits(max_bytes=16_383))


sizes = st.integers(0, 400) | st.integers(0, 90_000)
characters = st.sampled_from(["x", "é", "\ufffd", "€", "\U0001f600", "\\", '"', "\n", "\x00"])
bad = st.sampled_from([b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"x", "é".encode(), "\ufffd".encode()])


@st.composite
def inputs(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, bytes], dict[str, int]]:
    """A push of any shape with bad bytes and cuts made before."""
    raw: dict[str, bytes] = {}
    cut: dict[str, int] = {}
    items = []
    for number in range(draw(st.integers(0, 8))):
        one = changeset(number, desc=draw(characters) * draw(sizes))
        one["files"] = [draw(characters) * draw(st.integers(0, 300))] * draw(st.integers(0, 300))
        if draw(st.booleans()):
            raw[f"/changesets/{number}/author"] = draw(bad) * draw(sizes)
            one["author"] = decode_text(raw[f"/changesets/{number}/author"])[0]
        if one["files"] and draw(st.booleans()):
            place = draw(st.integers(0, len(one["files"]) - 1))
            raw[f"/changesets/{number}/files/{place}"] = draw(bad) * draw(st.integers(0, 50))
            one["files"][place] = decode_text(raw[f"/changesets/{number}/files/{place}"])[0]
        if draw(st.booleans()):
            cut[f"/changesets/{number}/desc"] = len(one["desc"].encode()) + draw(st.integers(0, 9))
        items.append(one)
    repeat = draw(st.sampled_from([1, 1, 30]))
    data = push(items + [changeset(n, desc="d" * draw(sizes)) for n in range(repeat)])
    data["properties"] = {draw(st.text(max_size=9)): {"é/~": draw(characters) * draw(sizes)}}
    if draw(st.booleans()):
        cut["/changesets"] = len(data["changesets"]) + draw(st.integers(0, 20_000))
    return data, raw, cut


def is_part(kept: Any, whole: Any, pointer: str, cuts: dict[str, tuple[int, int]], cut: dict[str, int]) -> None:
    """Check that what was kept is the beginning of the whole, and that every cut and no other is recorded."""
    if isinstance(whole, dict):
        assert list(kept) == list(whole)
        for name in whole:
            is_part(kept[name], whole[name], f"{pointer}/{escape(name)}", cuts, cut)
    elif isinstance(whole, list):
        assert cuts.pop(pointer, (len(kept), len(kept))) == (len(kept), cut.get(pointer, len(whole)))
        for place, item in enumerate(kept):
            is_part(item, whole[place], f"{pointer}/{place}", cuts, cut)
    elif isinstance(whole, str):
        size = len(kept.encode())
        assert whole.startswith(kept)
        assert cuts.pop(pointer, (size, size)) == (size, cut.get(pointer, len(whole.encode())))
    else:
        assert kept == whole


@settings(max_examples=60, deadline=None)
@given(inputs(), st.sampled_from([16_384, 20_000, 65_536, 262_144]))
def test_every_push_fits_lists_every_cut_and_keeps_true_bytes(
    given_: tuple[dict[str, Any], dict[str, bytes], dict[str, int]], max_bytes: int
) -> None:
    data, raw, cut = given_
    before = copy.deepcopy(data)
    limits = Limits(max_bytes=max_bytes, envelope_bytes=1_500)

    out = bound(data, raw=raw, cut=cut, limits=limits)

    assert data == before
    assert sent_bytes(out) <= max_bytes - 1_500
    cuts = entries(out)
    notes: dict[str, Any] = {"truncated": [], "raw": []}
    is_part({**out, **notes}, {**data, **notes}, "", cuts, cut)
    assert not cuts
    for pointer, kept in raws(out).items():
        assert decode_text(kept) == (resolve(out, pointer), kept)
        assert raw[pointer].startswith(kept)
    for pointer, whole in raw.items():
        try:
            text = resolve(out, pointer)
        except EventError:
            continue
        assert (pointer in raws(out)) == (decode_text(whole[: len(kept_bytes(whole, text))])[1] is not None)
    assert bound(data, raw=raw, cut=cut, limits=limits) == out


def kept_bytes(whole: bytes, text: str) -> bytes:
    """Return the first bytes of the whole that read as the text."""
    return whole.decode("utf-8", "surrogateescape")[: len(text)].encode("utf-8", "surrogateescape")


def own_bytes(value: Any, pointer: str, found: dict[str, int]) -> int:
    """Enter what each list and text of a member takes without those within it; give what is left for the list above.

    The slow way of the rule that `shrink` follows, for data without bad bytes.
    """
    if isinstance(value, dict):
        rest = 0
        for name, item in value.items():
            rest += sent_bytes(name) + 2
            word = f"{pointer}/{escape(name)}"
            if isinstance(item, str) and sent_bytes(item) >= 128 and name not in NEVER_CUT:
                found[word] = sent_bytes(item)
            else:
                rest += own_bytes(item, word, found)
        return rest + 2
    if isinstance(value, list):
        found[pointer] = 0
        found[pointer] = sum(own_bytes(item, f"{pointer}/{n}", found) + 1 for n, item in enumerate(value))
        return 2
    return sent_bytes(value)


def slowly(data: dict[str, Any], allowed: int) -> dict[str, Any]:
    """Halve step by step, measuring everything again after each step."""
    out = copy.deepcopy(data)
    totals: dict[str, int] = {}
    while True:
        alive = {}
        for pointer, total in totals.items():
            try:
                value = resolve(out, pointer)
            except EventError:
                continue
            alive[pointer] = {
                "field": pointer,
                "kept": len(value if isinstance(value, list) else value.encode()),
                "total": total,
            }
        out["truncated"] = [alive[pointer] for pointer in sorted(alive, key=order)]
        if sent_bytes(out) <= allowed:
            return out
        found: dict[str, int] = {}
        for name, item in out.items():
            if name not in ("truncated", "raw"):
                own_bytes({name: item}, "", found)
        most = max(found, key=lambda pointer: found[pointer])
        holder, _, word = most.rpartition("/")
        parent, whole = resolve(out, holder), resolve(out, most)
        totals.setdefault(most, len(whole if isinstance(whole, list) else whole.encode()))
        if isinstance(whole, list):
            parent[word] = whole[: len(whole) // 2]
        else:
            parent[word] = whole.encode()[: len(whole.encode()) // 2].decode("utf-8", "ignore")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("xé"), st.integers(0, 3_000), st.integers(0, 60), st.integers(0, 200)), max_size=40
    ),
    st.integers(0, 40),
)
def test_what_is_halved_is_the_same_as_when_everything_is_measured_after_each_step(
    shapes: list[tuple[str, int, int, int]], envelope: int
) -> None:
    items = [
        changeset(n, desc=text * size, files=["f" * length] * count)
        for n, (text, size, length, count) in enumerate(shapes)
    ]
    data = push(items, nodes=["n" * 40] * 150, comments="c" * 5_000)

    out = bound(data, limits=Limits(max_bytes=EVENT_LEAST_MAX_BYTES, envelope_bytes=envelope))

    assert out == slowly(data, EVENT_LEAST_MAX_BYTES - envelope)


@pytest.mark.parametrize(
    "huge",
    [
        # Made where they are used, because each worker reads this table and would keep a million objects.
        lambda: push([changeset(desc="é" * 2_500_000)]),
        lambda: push([changeset(files=[f"src/file{n}.c" for n in range(100_000)])]),
        lambda: push([changeset(n, desc="x" * KIB_64, files=["f" * 100] * 300) for n in range(100)]),
        lambda: push([changeset(n) for n in range(100_000)]),
        lambda: {"a": [["x" * 200] * 100] * 300, "truncated": [], "raw": []},
    ],
    ids=["5 MB text", "100,000 names", "100 full changesets", "100,000 changesets", "a list of lists"],
)
@pytest.mark.parametrize("max_bytes", [16_384, 262_144])
def test_huge_data_is_cut_without_hanging(huge: Callable[[], dict[str, Any]], max_bytes: int) -> None:
    data = huge()
    start = time.process_time()
    out = bound(data, limits=Limits(max_bytes=max_bytes))

    assert time.process_time() - start < GENEROUS_SECONDS
    assert sent_bytes(out) <= max_bytes


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=200),
    st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    st.booleans(),
)
def test_the_whole_event_fits_in_either_format_with_the_longest_numbers_and_keys(
    path: str, subject: str | None, replayed: bool
) -> None:
    source = f"hg://hg.example.org/{path}"
    limits = Limits(max_bytes=16_384, envelope_bytes=envelope_bytes("hg.push.v1", source, subject))
    data = bound(push([changeset(n, desc="x" * n * 10) for n in range(100)]), limits=limits)
    event = Event(
        type="hg.push.v1",
        source=source,
        subject=subject,
        time="2026-11-22T10:59:21.482913Z",
        data=data,
        id="de95ce0a-b386-5696-bfaa-7cecfe65a436",
        routing_key="k" * 255,
        numbers=Numbers(epoch="b81f6e0c-2d7a-4c55-9e1b-0f64a3c7d210", sequence=2**63 - 1, typesequence=2**63 - 1),
        replayed=replayed,
    )

    for body in (encode(event), encode_pulse(event, exchange="e" * 255, sent="2026-11-22T10:59:21.482913Z")):
        assert len(body) <= 16_384
        assert len(body) - sent_bytes(data) <= limits.envelope_bytes
