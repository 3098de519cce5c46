# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A record is a named tuple in all that our code uses of one."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import pytest

from sourcepulse.events.event import Event
from sourcepulse.events.record import Record


class Spot(Record):
    name: str
    line: int = 1
    note: str | None = None


class Model(NamedTuple):
    name: str
    line: int = 1
    note: str | None = None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("a",), {}),
        (("a", 2), {}),
        (("a", 2, "x"), {}),
        ((), {"name": "a"}),
        (("a",), {"note": "x"}),
        ((), {"line": 3, "note": "x", "name": "a"}),
        ((), {}),
        ((), {"line": 3}),
        (("a", 1, None, 4), {}),
        (("a",), {"name": "b"}),
        (("a",), {"colour": "red"}),
    ],
)
def test_a_record_is_made_as_a_named_tuple_is(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    made: list[Any] = []
    for class_ in (Spot, Model):
        try:
            made.append(tuple(class_(*values, **named)))
        except TypeError:
            made.append(TypeError)
    assert made[0] == made[1]


def test_a_record_has_what_a_named_tuple_has() -> None:
    spot, model = Spot("a", note="x"), Model("a", note="x")
    assert (spot.name, spot.line, spot.note) == tuple(spot) == tuple(model)
    assert spot._asdict() == model._asdict()
    assert repr(spot) == repr(model).replace("Model", "Spot")
    assert Spot._fields == Model._fields
    assert spot._replace(line=2) == ("a", 2, "x")
    with pytest.raises(ValueError, match="colour"):
        spot._replace(colour="red")
    assert spot == Spot("a", 1, "x")
    assert hash(spot) == hash(model)
    assert copy.copy(spot) == spot
    assert pickle.loads(pickle.dumps(spot)) == spot
    match spot:
        case Spot(name, line):
            assert (name, line) == ("a", 1)
    with pytest.raises(AttributeError):
        spot.line = 2  # type: ignore[misc] # that is what is tested


def test_a_subclass_checks_and_keeps_its_class() -> None:
    event = Event.of("hg.push.v1", source="hg://host/repo", key=["1"], subject="repo", time=0.0, data={})
    assert type(event._replace(replayed=True)) is Event
    assert event._replace(replayed=True).replayed
