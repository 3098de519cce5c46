# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bytes on the wire: written as the contract shows, read strictly, nothing lost in either format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcepulse.catalogue import schema_for
from sourcepulse.errors import DecodeError, EventError
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.wire import BODY_MAX_BYTES, dataschema, decode, encode, encode_pulse
from support.events.examples import events, json_values, key_of, wire_examples

KEY = "hg.push.integration.inbound"
SENT = "2026-11-22T10:59:22.000000Z"
EXAMPLES = wire_examples()


def pulse(event: Event) -> bytes:
    return encode_pulse(event, exchange="sourcepulse", sent=SENT)


def made(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "type": "hg.push.v1",
        "source": "hg://a/b",
        "subject": "b",
        "time": "2026-11-22T10:59:21.482913Z",
        "data": {"n": 1},
        "id": "de95ce0a-b386-5696-bfaa-7cecfe65a436",
        "routing_key": KEY,
        "numbers": Numbers(epoch="e", sequence=42, typesequence=31),
    }
    return Event(**{**values, **changes})


@pytest.mark.parametrize("body", EXAMPLES)
def test_the_examples_of_the_contract_come_back_byte_for_byte(body: bytes) -> None:
    event = decode(body, routing_key=key_of(body))

    assert encode(event) == body
    assert event.routing_key == key_of(body)


@pytest.mark.parametrize("body", EXAMPLES)
def test_the_examples_of_the_contract_keep_to_their_schemas(body: bytes) -> None:
    document = json.loads(body)

    jsonschema.Draft202012Validator(schema_for("envelope.v1")).validate(document)
    jsonschema.Draft202012Validator(schema_for(document["type"])).validate(document["data"])


@pytest.mark.parametrize("body", EXAMPLES)
def test_the_examples_of_the_contract_are_the_same_in_the_classic_format(body: bytes) -> None:
    event = decode(body, routing_key=key_of(body))

    assert decode(pulse(event), routing_key=key_of(body)) == event


@given(events())
def test_any_event_comes_back_equal_and_its_bytes_identical(event: Event) -> None:
    for write in (encode, pulse):
        body = write(event)
        again = decode(body, routing_key=event.routing_key)

        assert again == event
        assert again.stream == event.stream
        assert write(again) == body


@given(events())
def test_what_is_sent_keeps_to_the_schema_of_the_envelope(event: Event) -> None:
    jsonschema.Draft202012Validator(schema_for("envelope.v1")).validate(json.loads(encode(event)))


def test_members_stand_in_the_order_of_the_contract_and_nothing_is_null() -> None:
    body = encode(made(replayed=True))

    assert body == (
        b'{"specversion":"1.0","id":"de95ce0a-b386-5696-bfaa-7cecfe65a436","source":"hg://a/b","type":"hg.push.v1",'
        b'"subject":"b","time":"2026-11-22T10:59:21.482913Z","datacontenttype":"application/json",'
        b'"dataschema":"urn:sourcepulse:hg.push.v1","epoch":"e","sequence":"00000000000000000042",'
        b'"typesequence":"00000000000000000031","replayed":true,"data":{"n":1}}'
    )


def test_what_an_event_does_not_have_is_left_out() -> None:
    document = json.loads(encode(made(subject=None, numbers=None)))

    assert set(document) == {
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "datacontenttype",
        "dataschema",
        "data",
    }


def test_the_classic_format_begins_with_what_pulse_consumers_know() -> None:
    document = json.loads(pulse(made()))

    assert document["payload"] == {"n": 1}
    assert list(document["_meta"].items())[:4] == [
        ("exchange", "sourcepulse"),
        ("routing_key", KEY),
        ("serializer", "json"),
        ("sent", SENT),
    ]
    assert document["_meta"]["sequence"] == "00000000000000000042"


@pytest.mark.parametrize(
    ("type_", "urn"),
    [
        ("hg.push.v1", "urn:sourcepulse:hg.push.v1"),
        ("system.hg.down.v1", "urn:sourcepulse:system.status.v1"),
        ("system.relay.recovered.v1", "urn:sourcepulse:system.status.v1"),
        ("system.relay.heartbeat.v1", "urn:sourcepulse:system.relay.heartbeat.v1"),
        ("system.event.withheld.v1", "urn:sourcepulse:system.event.withheld.v1"),
        ("system.a.b.c.v1", "urn:sourcepulse:system.a.b.c.v1"),
        ("systems.a.b.v1", "urn:sourcepulse:systems.a.b.v1"),
    ],
)
def test_states_of_services_share_a_schema_and_all_else_has_its_own(type_: str, urn: str) -> None:
    assert dataschema(type_) == urn
    assert json.loads(encode(made(type=type_)))["dataschema"] == urn


def test_any_mapping_and_any_sequence_can_be_data() -> None:
    assert encode(made(data=MappingProxyType({"n": (1, 2)}))) == encode(made(data={"n": [1, 2]}))


def circular() -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = data
    return data


def deep() -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(100_000):
        data = {"d": data}
    return data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda: {"x": "\ud800"}, "surrogate"),
        (lambda: {"\udcff": 1}, "surrogate"),
        (lambda: {"x": float("nan")}, "JSON compliant"),
        (lambda: {"x": float("-inf")}, "JSON compliant"),
        (lambda: {"x": b"bytes"}, "bytes"),
        (lambda: {"x": {1, 2}}, "set"),
        (circular, "ircular"),
        # Made where it is used, because each worker reads this table.
        (deep, "deeply"),
        (lambda: {"x": "y" * BODY_MAX_BYTES}, "more than"),
    ],
    ids=["surrogate", "surrogate in a name", "nan", "inf", "bytes", "set", "circular", "deep", "large"],
)
@pytest.mark.parametrize("write", [encode, pulse])
def test_what_json_cannot_say_is_an_event_error(
    write: Callable[[Event], bytes], data: Callable[[], dict[str, Any]], reason: str
) -> None:
    with pytest.raises(EventError, match=reason):
        write(made(data=data()))


def changed(**changes: Any) -> bytes:
    """Return a good event with some attributes changed, or taken away where the value is `...`."""
    document = {**json.loads(encode(made())), **changes}
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


def changed_pulse(**changes: Any) -> bytes:
    document = json.loads(pulse(made()))
    meta = {**document["_meta"], **changes}
    document["_meta"] = {name: value for name, value in meta.items() if value is not ...}
    return json.dumps(document).encode()


GOOD = encode(made())

DEFECTS = {
    "nothing": (b"", "not JSON"),
    "no UTF-8": (b'{"specversion": "\xff"}', "not UTF-8 (byte 17)"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "not JSON"),
    "half of it": (GOOD[: len(GOOD) // 2], "not JSON"),
    "something after it": (GOOD + b"{}", "not JSON"),
    "an array": (b"[]", "an array"),
    "a string": (b'"specversion"', "a string"),
    "null": (b"null", "null"),
    "a number": (b"1", "a number"),
    "an empty object": (b"{}", "neither"),
    "a repeated attribute": (b'{"id":"x",' + GOOD[1:], "'id' occurs twice"),
    "a repeated member deep down": (GOOD.replace(b'{"n":1}', b'{"a":[{"n":1,"n":1}]}'), "'n' occurs twice"),
    "NaN": (GOOD.replace(b'{"n":1}', b'{"n":NaN}'), "NaN"),
    "infinity": (GOOD.replace(b'{"n":1}', b'{"n":-Infinity}'), "-Infinity"),
    "a number beyond all bounds": (GOOD.replace(b'{"n":1}', b'{"n":1e999}'), "out of range"),
    "an integer of 5,000 digits": (GOOD.replace(b'{"n":1}', b'{"n":' + b"1" * 5000 + b"}"), "not JSON"),
    "half a surrogate pair": (GOOD.replace(b'{"n":1}', b'{"n":"\\uD800x"}'), "surrogate"),
    "half a surrogate pair in a name": (GOOD.replace(b'{"n":1}', b'{"\\udfff":1}'), "surrogate"),
    "deep arrays": (b'{"specversion":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeply"),
    "deep objects": (b'{"d":' * 100_000 + b"1" + b"}" * 100_000, "deeply"),
    "too many bytes": (b" " * (BODY_MAX_BYTES + 1), "more than"),
    "another version of CloudEvents": (changed(specversion="0.3"), "specversion is '0.3'"),
    "a version that is a number": (changed(specversion=1.0), "specversion is not a string"),
    "no version": (changed(specversion=...), "neither"),
    "another content type": (changed(datacontenttype="text/plain"), "datacontenttype"),
    "no content type": (changed(datacontenttype=...), "no datacontenttype"),
    "no schema": (changed(dataschema=...), "no dataschema"),
    "a foreign schema": (changed(dataschema="https://example.org/x"), "dataschema"),
    "no id": (changed(id=...), "no id"),
    "an id that is null": (changed(id=None), "no id"),
    "an id that is a number": (changed(id=1), "id is not a string but a number"),
    "an empty id": (changed(id=""), "id is empty"),
    "no source": (changed(source=...), "no source"),
    "a source that is no URI": (changed(source="hg"), "not a source"),
    "no type": (changed(type=...), "no type"),
    "a foreign type": (changed(type="com.github.push"), "not an event type"),
    "an empty subject": (changed(subject=""), "subject is empty"),
    "a subject that is a list": (changed(subject=[]), "subject is not a string but an array"),
    "no time": (changed(time=...), "no time"),
    "a time with an offset": (changed(time="2026-11-22T10:59:21.482913+01:00"), "not a time"),
    "an epoch alone": (changed(sequence=..., typesequence=...), "go together"),
    "no epoch": (changed(epoch=...), "go together"),
    "no typesequence": (changed(typesequence=...), "go together"),
    "an empty epoch": (changed(epoch=""), "epoch is empty"),
    "a sequence of 19 digits": (changed(sequence="0" * 18 + "1"), "20 decimal digits"),
    "a sequence of 21 digits": (changed(sequence="0" * 20 + "1"), "20 decimal digits"),
    "a sequence of foreign digits": (changed(sequence="\u0661" * 20), "20 decimal digits"),
    "a sequence with a line end": (changed(sequence="0" * 19 + "1\n"), "20 decimal digits"),
    "a sequence that is a number": (changed(sequence=42), "sequence is not a string"),
    "a sequence of zero": (changed(sequence="0" * 20), "sequence number 0"),
    "a typesequence of zero": (changed(typesequence="0" * 20), "sequence number 0"),
    "replayed as a string": (changed(replayed="true"), "replayed is not a boolean"),
    "replayed as a number": (changed(replayed=1), "replayed is not a boolean"),
    "no data": (changed(data=...), "no data"),
    "data that is a list": (changed(data=[]), "data is not an object but an array"),
    "data in base64": (changed(data=..., data_base64="e30="), "no data"),
    "a foreign Pulse message": (
        (
            b'{"_meta":{"exchange":"exchange/build","routing_key":"build.x","serializer":"json",'
            b'"sent":"2011-03-01T10:00:00-08:00"},"payload":{}}'
        ),
        "from another program",
    ),
    "a Pulse message without a payload": (pulse(made()).replace(b'"payload"', b'"pay"'), "no payload"),
    "a Pulse message with a list": (pulse(made()).replace(b'{"n":1}', b"[]"), "payload is not an object"),
    "a _meta that is a string": (b'{"_meta":"x","payload":{}}', "_meta is not an object"),
    "another serializer": (changed_pulse(serializer="pickle"), "serializer is 'pickle'"),
    "no exchange": (changed_pulse(exchange=...), "no exchange"),
    "sent as a number": (changed_pulse(sent=1), "sent is not a string"),
    "a sequence that no outbox can give": (changed(sequence="9" * 20), "higher than 9223372036854775807"),
    "a typesequence that no outbox can give": (changed(typesequence=f"{2**63:020}"), "higher than"),
    "a long id": (changed(id="i" * 256), "more than 255 bytes"),
    "a long id of few characters": (changed(id="\u20ac" * 86), "more than 255 bytes"),
    "a long source": (changed(source="hg://" + "s" * 1020), "more than 1024 bytes"),
    "a long type": (changed(type=f"hg.{'t' * 250}.v1"), "more than 255 bytes"),
    "a long epoch": (changed(epoch="e" * 256), "more than 255 bytes"),
    "a type of nine million characters": (changed(type="hg." * 3_000_000), "more than 255 bytes"),
    "a time of nine million characters": (changed(time="2" * 9_000_000), "is not a time"),
    "a Pulse message with half its numbers": (changed_pulse(epoch=...), "go together"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_a_named_error_that_carries_the_bytes(name: str) -> None:
    body, reason = DEFECTS[name]

    with pytest.raises(DecodeError, match=re.escape(reason)) as caught:
        decode(body, routing_key=KEY)
    assert caught.value.raw == body
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body",
    [
        changed(traceparent="00-0af7", partitionkey=1, another=True),
        changed(replayed=None),
        changed(replayed=False),
        json.dumps(json.loads(GOOD), indent=4).encode(),
        json.dumps(dict(reversed(json.loads(GOOD).items()))).encode(),
    ],
    ids=["unknown extensions", "null for not set", "replayed false", "white space", "another order"],
)
def test_what_cloudevents_allows_is_read(body: bytes) -> None:
    assert decode(body, routing_key=KEY) == made()


def test_null_stands_for_a_subject_and_numbers_that_are_not_set() -> None:
    body = changed(subject=None, epoch=None, sequence=None, typesequence=None)

    assert decode(body, routing_key=KEY) == made(subject=None, numbers=None)


def test_a_whole_surrogate_pair_in_escapes_is_one_character() -> None:
    body = GOOD.replace(b'{"n":1}', b'{"n":"\\ud83d\\ude00 \\\\ud800"}')

    assert decode(body, routing_key=KEY).data == {"n": "\U0001f600 \\ud800"}


@given(st.binary(max_size=60))
@example(b"\x00")
def test_any_bytes_are_an_event_or_a_named_error(body: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(body, routing_key=KEY)
    assert caught.value.raw == body


@given(st.sampled_from(sorted(json.loads(GOOD))), json_values | st.just("1.0") | st.just("0" * 20))
def test_any_value_of_an_attribute_is_read_or_a_named_error(name: str, value: Any) -> None:
    body = changed(**{name: value})
    try:
        event = decode(body, routing_key=KEY)
    except DecodeError as error:
        assert error.raw == body  # noqa: PT017  # Either outcome is right; which one is another test's matter.
        return
    assert decode(encode(event), routing_key=KEY) == event


@given(events(), st.data())
def test_a_damaged_message_is_an_event_or_a_named_error_and_never_a_crash(event: Event, data: st.DataObject) -> None:
    body = bytearray(encode(event))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = decode(bytes(body), routing_key=event.routing_key)
    except DecodeError as error:
        assert error.raw == body  # noqa: PT017  # Most damage is found; what is not found makes an event.
        return
    assert decode(encode(again), routing_key=event.routing_key) == again


TYPE = "hg.push.v1"
WITHHELD = "system.event.withheld.v1"


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        (TYPE, "hg.push"),
        (TYPE, "hg.push.a.b"),
        (WITHHELD, "hg.push.a"),
        (f"hg.{'x' * 245}.v1", f"hg.{'x' * 234}_-0123456789abcdef"),
    ],
)
def test_the_key_begins_with_the_words_of_the_type(type_: str, key: str) -> None:
    data = {"type": TYPE} if type_ == WITHHELD else {}
    assert decode(changed(type=type_, data=data), routing_key=key).type == type_


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        ("bugzilla.bug.closed.v1", "hg.push.r"),
        (TYPE, "hg.pushed"),
        (TYPE, "hg"),
        (TYPE, ""),
        (TYPE, "hg.\ufffdpush"),
        (WITHHELD, "system.event.withheld"),
        (TYPE, "hg.push." + "x" * 248),
        (f"hg.{'x' * 245}.v1", f"hg.{'x' * 234}"),
    ],
)
def test_a_publisher_under_one_key_cannot_speak_for_another_type(type_: str, key: str) -> None:
    data = {"type": TYPE} if type_ == WITHHELD else {}
    with pytest.raises(DecodeError, match="routing key"):
        decode(changed(type=type_, data=data), routing_key=key)


@pytest.mark.parametrize("words", [None, 7, "", ".", "hg", "push"])
def test_a_stand_in_that_names_no_type_is_refused(words: object) -> None:
    with pytest.raises(DecodeError):
        decode(changed(type=WITHHELD, data={"type": words}), routing_key="hg.push.r")
