# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events for tests: the contract's own examples, and any event at all."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from sourcepulse.events.event import Event, Numbers, event_id, format_time
from sourcepulse.events.topics import routing_key

EXAMPLES_FILE = Path(__file__).with_name("wire_examples.jsonl")

#: Seconds since 1970 of the first and the last microsecond that RFC 3339 can say, rounded inwards.
YEAR_1_S = -62_135_596_800
YEAR_9999_S = 253_402_300_799

texts = st.text(st.characters(codec="utf-8"), max_size=30)
words = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
schemes = st.from_regex(r"[a-z][a-z0-9+.-]{0,8}", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def wire_examples() -> list[bytes]:
    """Return the examples of the event contract, each as the line that is sent.

    The contract writes U+FFFD as an escape to be readable everywhere; on the wire it is UTF-8.
    """
    text = EXAMPLES_FILE.read_text(encoding="ascii").replace(r"\ufffd", "\ufffd")
    return [line.encode() for line in text.splitlines()]


def key_of(body: bytes) -> str:
    """Return a routing key that the event in these bytes may come under."""
    return str(json.loads(body)["type"]).rpartition(".")[0] + ".any"


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event that can be made."""
    type_words = draw(st.lists(words, min_size=2, max_size=4))
    type_ = f"{'.'.join(type_words)}.v{draw(st.integers(1, 99))}"
    rest = draw(st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=20))
    source = f"{draw(schemes)}://{rest}{draw(st.sampled_from(['', '?restricted']))}"
    numbers = st.builds(
        Numbers,
        epoch=texts.filter(bool),
        sequence=st.integers(1, 2**63 - 1),
        typesequence=st.integers(1, 2**63 - 1),
    )
    return Event(
        type=type_,
        source=source,
        subject=draw(st.none() | texts.filter(bool)),
        time=format_time(draw(st.integers(YEAR_1_S, YEAR_9999_S))),
        data=draw(st.dictionaries(texts, json_values, max_size=5)),
        id=event_id(source, type_, draw(texts)),
        routing_key=routing_key(*type_words, variable=draw(st.lists(texts, max_size=3))),
        numbers=draw(st.none() | numbers),
        replayed=draw(st.booleans()),
    )
