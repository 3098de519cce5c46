# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event value: ids that are the same everywhere, times as the contract writes them, and what is refused."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.errors import EventError
from sourcepulse.events.event import (
    ID_NAMESPACE,
    PUBLIC,
    RESTRICTED,
    Event,
    Numbers,
    event_id,
    format_time,
    routing_words,
)
from sourcepulse.testing import system_event
from support.events.examples import YEAR_1_S, YEAR_9999_S, events, texts, wire_examples


def made(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "source": "hg://hg.example.org/integration/inbound",
        "key": ["TXN:1"],
        "subject": "integration/inbound",
        "time": 1795345161.482913,
        "data": {},
        "words": ["integration", "inbound"],
    }
    return Event.of(changes.pop("type_", "hg.push.v1"), **{**values, **changes})


def test_the_ids_of_the_contract_are_reproduced() -> None:
    hashed = ["buildbot://ci", "build.finished.v1", "5731", "1795345170"]
    bug = "bugzilla://3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"
    push = json.loads(wire_examples()[0])

    assert event_id(*hashed) == "825631fa-2352-54c1-9aa9-8037ae76b9b4"
    secret = "00112233445566778899aabbccddeeff"
    assert event_id(bug, "bugzilla.bug.changed.v1", "1234", "98117", "1795345780", secret) == (
        "46a2ae22-4791-5649-acb3-0a9824a0697a"
    )
    assert event_id(bug, "change_set", "5c8e0d7f2b9a41c6a3f4e17d90b82c35", secret) == (
        "f6f2e1dc-3d51-5886-b238-98902322653b"
    )
    assert event_id(push["source"], push["type"], push["data"]["change_set"]) == push["id"]


@given(texts, texts, st.lists(texts, max_size=3))
def test_an_id_is_the_uuid5_of_the_ascii_json_array(scope: str, type_: str, key: list[str]) -> None:
    name = json.dumps([scope, type_, *key], separators=(",", ":"))

    assert name.isascii()
    assert event_id(scope, type_, *key) == str(uuid.uuid5(uuid.UUID(bytes=ID_NAMESPACE), name))


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4))
def test_no_element_of_a_key_can_run_into_the_next(one: list[str], other: list[str]) -> None:
    assert (event_id("s", "t", *one) == event_id("s", "t", *other)) == (one == other)


@given(st.integers(YEAR_1_S * 1_000_000, YEAR_9999_S * 1_000_000))
def test_a_time_has_four_digits_for_the_year_six_decimals_and_z(microseconds: int) -> None:
    text = format_time(microseconds / 1_000_000)
    moment = datetime.fromisoformat(text)

    assert len(text) == len("2026-11-22T10:59:21.482913Z")
    assert text.endswith("Z")
    assert moment.tzinfo == UTC
    # A double has about 16 digits, so far years lose some microseconds.
    assert abs((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() - microseconds / 1e6) < 1e-4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1795345161.482913, "2026-11-22T10:59:21.482913Z"),
        (-0.000001, "1969-12-31T23:59:59.999999Z"),
        (-62_135_596_800, "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_written_as_rfc_3339(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1e12, 1e12, 1e300])
def test_a_time_that_rfc_3339_cannot_say_is_an_event_error(seconds: float) -> None:
    with pytest.raises(EventError, match="years 1 to 9999"):
        format_time(seconds)


def test_an_event_of_a_fact_has_its_id_key_time_and_stream() -> None:
    event = made()

    assert event.id == event_id(event.source, "hg.push.v1", "TXN:1")
    assert event.routing_key == "hg.push.integration.inbound"
    assert event.time == "2026-11-22T10:59:21.482913Z"
    assert event.stream == PUBLIC
    assert event.numbers is None
    assert not event.replayed


def test_the_restricted_stream_is_a_source_of_its_own_with_ids_of_its_own() -> None:
    public, restricted = made(), made(source="hg://hg.example.org/integration/inbound?restricted")

    assert restricted.stream == RESTRICTED
    assert restricted.id != public.id


def test_masters_that_share_a_scope_make_one_id_for_one_fact() -> None:
    ids = {made(source=f"buildbot://ci/{master}", scope="buildbot://ci").id for master in ("a", "b")}

    assert ids == {event_id("buildbot://ci", "hg.push.v1", "TXN:1")}


def test_a_type_gives_its_words_without_the_version() -> None:
    assert routing_words("hg.bookmark.created.v12") == ["hg", "bookmark", "created"]


@pytest.mark.parametrize(
    "type_",
    [
        "",
        "hg",
        "hg.push",
        "hg.v1",
        "hg.push.v0",
        "hg.push.v01",
        "Hg.push.v1",
        "hg..v1",
        "hg.push.v1\n",
        "hg.*.v1",
        "hg.é.v1",
    ],
)
def test_what_is_not_a_type_is_refused(type_: str) -> None:
    with pytest.raises(EventError, match="not an event type"):
        made(type_=type_)


@pytest.mark.parametrize("source", ["", "hg", "hg://", "://x", "hg:// x", "hg://x\n", "HG://x", "hg://x\x7f"])
def test_what_is_not_a_source_is_refused(source: str) -> None:
    with pytest.raises(EventError, match="not a source"):
        made(source=source)


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2026-11-22T10:59:21Z",
        "2026-11-22T10:59:21.482913+00:00",
        "2026-11-22 10:59:21.482913Z",
        "2026-02-30T10:59:21.482913Z",
        "2026-11-22T25:59:21.482913Z",
        "2026-11-22T10:59:21.482913Z\n",
        "0000-11-22T10:59:21.482913Z",
        "\u0662026-11-22T10:59:21.482913Z",
    ],
)
def test_what_is_not_a_time_is_refused(time: str) -> None:
    with pytest.raises(EventError, match="not a time"):
        replace_time(made(), time)


def replace_time(event: Event, time: str) -> Event:
    values = {name: getattr(event, name) for name in ("type", "source", "subject", "data", "id", "routing_key")}
    return Event(time=time, **values)


def test_an_empty_subject_and_an_empty_id_are_refused() -> None:
    with pytest.raises(EventError, match="subject is empty"):
        made(subject="")
    with pytest.raises(EventError, match="id is empty"):
        Event(
            type="hg.push.v1",
            source="hg://a/b",
            subject=None,
            time="2026-11-22T10:59:21.482913Z",
            data={},
            id="",
            routing_key="hg.push",
        )


def test_a_routing_word_that_is_neither_text_nor_bytes_is_an_event_error() -> None:
    with pytest.raises(EventError, match="routing key"):
        made(words=["\ud800"])
    assert made(words=["\udcff"]).routing_key == "hg.push._FF"


@pytest.mark.parametrize(("sequence", "typesequence"), [(0, 1), (1, 0), (-1, 1), (10**20, 1), (1, 10**20)])
def test_numbers_begin_at_1_and_have_at_most_20_digits(sequence: int, typesequence: int) -> None:
    with pytest.raises(EventError, match="sequence number"):
        system_event(1).numbered(Numbers(epoch="e", sequence=sequence, typesequence=typesequence))


def test_numbers_without_an_epoch_are_refused() -> None:
    with pytest.raises(EventError, match="epoch is empty"):
        system_event(1).numbered(Numbers(epoch="", sequence=1, typesequence=1))


@given(events())
def test_numbering_changes_nothing_else(event: Event) -> None:
    numbers = Numbers(epoch="e", sequence=3, typesequence=2)
    numbered = event.numbered(numbers)

    assert numbered.numbers == numbers
    assert numbered.numbered(event.numbers) == event if event.numbers else numbered != event


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        made().id = "other"  # type: ignore[misc]  # That it fails is the point.
