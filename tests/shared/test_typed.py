# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The typed data of events: as the schemas say, and of use to a type checker."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from sourcepulse.catalogue import STATUS_SCHEMA, known_types, schema_for
from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.typed import data_as, generate, shape_name
from sourcepulse.typed.hg import HgPush, HgTagMoved
from sourcepulse.typed.system import SystemRelayHeartbeat, SystemStatus
from support.events.examples import key_of, wire_examples

FOLDER = Path(generate.__file__).parent
FAMILIES = ("hg", "bugzilla", "buildbot", "system")

PROGRAM = """
from sourcepulse import Consumer
from sourcepulse.typed import data_as
from sourcepulse.typed.hg import HgPush

for event in Consumer("file:///tmp/log.db"):
    push = data_as(event, HgPush)
    reveal_type(push["changesets"][0]["files"])
    push["chnagesets"]
"""


def shapes() -> dict[str, type]:
    found = {}
    for family in FAMILIES:
        module = importlib.import_module(f"sourcepulse.typed.{family}")
        found.update({name: value for name, value in vars(module).items() if typing.is_typeddict(value)})
    return found


def an_event(type_: str) -> Event:
    return Event.of(type_, source="system://host", key=["1"], subject=None, time=1.0, data={"count": 1})


def test_what_is_checked_in_is_what_the_schemas_say() -> None:
    made = generate.modules()
    assert made.keys() == {*FAMILIES, "common"}
    for name, text in made.items():
        checked_in = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert checked_in == text, "run python -m sourcepulse.typed.generate"


@pytest.mark.parametrize("type_", [*known_types(), STATUS_SCHEMA])
def test_every_type_has_a_shape_with_the_fields_of_its_schema(type_: str) -> None:
    shape = shapes()[shape_name(type_)]
    schema = schema_for(type_)
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    assert typing.get_type_hints(shape).keys() == schema["properties"].keys()
    assert shape.__required_keys__ == frozenset(schema["required"])  # type: ignore[attr-defined]  # of a TypedDict


def test_the_examples_of_the_contract_have_a_shape() -> None:
    known = shapes()
    for line in wire_examples():
        event = decode(line, routing_key=key_of(line))
        data = data_as(event, known[shape_name(event.type)])
        assert data is event.data


def test_another_type_s_shape_is_refused() -> None:
    with pytest.raises(EventError, match=r"the data of a hg\.push\.v1 is a HgPush, not a HgTagMoved"):
        data_as(an_event("hg.push.v1"), HgTagMoved)
    assert data_as(an_event("hg.push.v1"), HgPush)["count"] == 1


def test_services_share_shapes_and_a_second_version_has_its_own() -> None:
    assert shape_name("system.hg.down.v1") == "SystemStatus"
    assert shape_name("system.sidecar.heartbeat.v1") == "SystemRelayHeartbeat"
    assert shape_name("hg.push.v2") == "HgPushV2"
    assert data_as(an_event("system.hg.down.v1"), SystemStatus)
    assert data_as(an_event("system.sidecar.heartbeat.v1"), SystemRelayHeartbeat)


def test_a_type_checker_knows_the_fields(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    output = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)],
        capture_output=True,
        text=True,
        timeout=170,
        cwd=Path(__file__).parents[2],
        check=False,
    ).stdout
    assert re.search(r"Revealed type is .*list\[(builtins\.)?str\]", output)
    assert 'TypedDict "HgPush" has no key "chnagesets"' in output
    assert "Found 1 error" in output


def test_importing_sourcepulse_does_not_load_what_only_consumers_need() -> None:
    heavy = "sourcepulse.typed sourcepulse.consumer.consumer threading asyncio kombu amqp stomp inspect dataclasses"
    program = f"import sys, sourcepulse; print(*(m for m in {heavy.split()!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
