# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue of events and the AsyncAPI document have every type, key, field and a real event, and are current."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sourcepulse.catalogue import STATUS_SCHEMA, check, known_types, schema_for
from sourcepulse.catalogue.addresses import address
from sourcepulse.catalogue.asyncapi import document
from sourcepulse.catalogue.description import STATUS_TYPES, describe, example, sources
from sourcepulse.cli.main import main
from sourcepulse.errors import EventError
from sourcepulse.events.validator import defects
from sourcepulse.events.wire import decode
from support.events.recorded import recorded_events
from support.fenced_blocks import ROOT

FOLDER = ROOT / "shared" / "docs" / "catalogue"
TYPES = [*known_types(), STATUS_SCHEMA]
RECORDED = [event for name in ("bugzilla", "buildbot", "hg", "system") for event in recorded_events(name)]
#: `make test` puts it there; only npm has it.
ASYNCAPI_SCHEMA = ROOT / ".venv" / "asyncapi" / "package" / "schemas" / "3.0.0.json"
CELL = re.compile(r"(?<!\\)\|")


def section(type_: str) -> str:
    """Return what a page has about a type."""
    shown = STATUS_TYPES if type_ == STATUS_SCHEMA else type_
    text = (FOLDER / f"{address(type_).family}.md").read_text(encoding="utf-8")
    return text.partition(f"\n## `{shown}`\n")[2].partition("\n## ")[0]


def fields(type_: str, text: str) -> dict[str, list[str]]:
    """Return the rows of the table of the fields of a type, that of another one if the page refers to it."""
    if same := re.search(r"has the fields of \[`([^`]+)`\]", text):
        return fields(type_, section(same[1]))
    table = text.partition("| field |")[2].partition("\n\n")[0]
    rows = (CELL.split(line) for line in table.splitlines() if line.startswith("| `"))
    return {cells[1].strip(" `"): [cell.strip() for cell in cells[2:-1]] for cells in rows}


def parts(schema: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object that a schema describes."""
    for key, part in {name: schema, **schema.get("$defs", {})}.items():
        for shape in (part, part.get("items", {})):
            if "properties" in shape:
                yield key, shape


@pytest.mark.parametrize("type_", TYPES)
def test_a_page_has_the_key_the_source_the_guarantee_the_fields_and_an_event_of_a_type(type_: str) -> None:
    text, at, schema = section(type_), address(type_), schema_for(type_)
    assert f"| routing key | `{at.key}`" in text
    assert f"`{at.source}`" in text
    assert re.search(r"\| guarantee \| (exact|best effort)", text)
    shape = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    rows = fields(type_, text)
    assert list(rows) == list(shape["properties"])
    for name, (kind, required, meaning) in rows.items():
        assert kind, name
        assert required == ("yes" if name in shape["required"] else "no")
        assert meaning, name
    (printed,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    kind = (
        json.loads(printed)["data"].get("type", type_) if type_.endswith("withheld.v1") else json.loads(printed)["type"]
    )
    event = decode(printed.encode(), routing_key=kind.rpartition(".v")[0])
    assert event.type == type_ or type_ == STATUS_SCHEMA
    check(event.type, event.data)
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| `{at.key}` |" in index


def test_every_field_of_every_object_has_a_description() -> None:
    undescribed = set()
    for type_ in TYPES:
        schema = schema_for(type_)
        for name, shape in parts(schema, type_):
            for field, part in shape["properties"].items():
                shared = schema.get("$defs", {}).get(part.get("$ref", "").rpartition("/")[2], {})
                if not part.get("description") and not shared.get("description"):
                    undescribed.add(f"{name}.{field}")
    assert undescribed == set()


def test_the_recorded_events_have_the_keys_and_subjects_that_the_pages_name() -> None:
    for event in RECORDED:
        at = address(event.type)
        assert at.matches(event.routing_key), (event.type, event.routing_key)
        assert not at.matches(f"other.{event.routing_key}") or at.key == "<key...>"
        if event.subject is not None:
            assert re.fullmatch(re.sub(r"<\w+>", "[^ ]+", at.subject), event.subject), (event.type, event.subject)
    assert not address("build.finished.v1").matches("build.finished.linux64")
    assert address("hg.push.v1").matches("hg.push.integration.inbound")


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    """The document."""
    return document("0.1.0")


def test_the_command_prints_the_document_and_no_type_with_it(
    asyncapi: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", "--asyncapi"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["info"].pop("version")
    assert printed == {**asyncapi, "info": {k: v for k, v in asyncapi["info"].items() if k != "version"}}
    assert main(["schema", "--asyncapi", "hg.push"]) == 2


def test_the_document_is_valid_by_asyncapis_own_schema(asyncapi: dict[str, Any]) -> None:
    if not ASYNCAPI_SCHEMA.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no schemas of AsyncAPI; `make test` gets them from npm")
    validator = jsonschema.Draft7Validator(json.loads(ASYNCAPI_SCHEMA.read_text(encoding="utf-8")))
    assert list(validator.iter_errors(asyncapi)) == []
    broken = copy.deepcopy(asyncapi)
    del broken["operations"]["publish.hg.push.v1"]["action"]
    broken["channels"]["hg.push.v1"]["bindings"]["amqp"]["is"] = "exchange"
    assert not validator.is_valid(broken)


def test_the_document_has_what_a_reader_needs_and_its_references_lead_somewhere(asyncapi: dict[str, Any]) -> None:
    assert (asyncapi["asyncapi"], asyncapi["servers"]["rabbitmq"]["bindings"]) == ("3.0.0", {"amqp": {}})
    assert set(asyncapi["channels"]) == set(asyncapi["components"]["messages"]) == set(TYPES)
    assert asyncapi["channels"]["build.finished.v1"]["address"] == "build.finished.{outcome}.{builder}"
    for channel in asyncapi["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel.get("parameters", {}))
        assert channel["bindings"]["amqp"]["exchange"]["name"] == "sourcepulse"
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(asyncapi)):
        at: Any = asyncapi
        for word in reference.split("/"):
            at = at[word]
        assert at
    text = json.dumps(asyncapi)
    assert not [word for word in ("$defs", "dependentRequired", "2020-12", "prefixItems") if f'"{word}"' in text]


#: What a site may write: names like ours, names that no component may have, a list of itself, and no description.
OWN = {
    "site.deploy.finished.v1": {
        "type": "object",
        "title": "A deployment has finished",
        "description": "Guarantee: best effort.",
        "required": ["repo"],
        "properties": {
            "repo": {"$ref": "#/$defs/repo"},
            "outcome": {"enum": ["success", "failure"]},
            "tree": {"$ref": "#/$defs/a b~1c"},
            "any": {},
            "$ref": {"type": ["array", "null"]},
        },
        "$defs": {
            "repo": {"type": "object", "properties": {"again": {"$ref": "#/$defs/repo"}}},
            "a b/c": {"type": "array", "items": {"$ref": "#/$defs/a b~1c"}},
        },
        "examples": [{"repo": {}, "outcome": "success", "tree": [[], [[]]]}],
    },
    "site.empty.v1": {"type": "object"},
}


def test_types_of_a_site_are_described_as_far_as_their_schemas_do() -> None:
    found = sources(OWN)
    assert found[-1] == ("", "This site", tuple(OWN))
    assert [source for source in sources() if not source.family] == []
    about = describe("site.deploy.finished.v1", OWN)
    assert (about.title, about.meaning, about.guarantee) == ("A deployment has finished", "", "best effort")
    assert (about.address.topic, about.address.source) == ("site.deploy.finished.#", "site://<host>")
    kinds = {field.name: "".join(word.text for word in field.kind) for field in about.fields}
    assert kinds == {
        "repo": "repo",
        "outcome": '"success" or "failure"',
        "tree": "list of a b/c",
        "any": "any value",
        "$ref": "list or null",
    }
    assert [shape.name for shape in about.shapes] == ["repo"]
    assert describe("site.empty.v1", OWN).title == "An event of this site"
    assert example("site.deploy.finished.v1", OWN)["data"] == OWN["site.deploy.finished.v1"]["examples"][0]
    with pytest.raises(EventError, match="has no example"):
        example("site.empty.v1", OWN)


def test_types_of_a_site_are_in_the_document_and_change_nothing_of_ours(asyncapi: dict[str, Any]) -> None:
    whole = document("0.1.0", OWN)
    ours = {name for name in whole["components"]["schemas"] if not name.startswith("site.")}
    assert {name: whole["components"]["schemas"][name] for name in ours} == asyncapi["components"]["schemas"]
    validator = payload_validator(whole, "site.deploy.finished.v1")
    event = example("site.deploy.finished.v1", OWN)
    validator.validate(event)
    for data in ({"repo": 1}, {"repo": {"again": {"again": 1}}}, {"repo": {}, "tree": [1]}, {"outcome": "x"}):
        assert not validator.is_valid({**event, "data": data})
    assert "examples" not in whole["components"]["messages"]["site.empty.v1"]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in whole["components"]["schemas"])


def payload_validator(asyncapi: dict[str, Any], type_: str) -> jsonschema.Draft7Validator:
    """Return what a tool makes of the document: a validator of draft-07, which knows nothing of 2020-12."""
    schema = {
        **asyncapi["components"]["messages"][type_]["payload"],
        "components": {"schemas": asyncapi["components"]["schemas"]},
    }
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("type_", TYPES)
def test_a_payload_of_the_document_accepts_and_refuses_what_our_schema_does(
    asyncapi: dict[str, Any], type_: str
) -> None:
    event, schema = example(type_), schema_for(type_)
    validator = payload_validator(asyncapi, type_)
    validator.validate(event)
    for broken in spoiled(event["data"]):
        assert validator.is_valid({**event, "data": broken}) == (not list(defects(schema, broken)))
    for name in ("id", "source", "data", "time"):
        assert not validator.is_valid({key: value for key, value in event.items() if key != name})
    if "epoch" in event:
        assert not validator.is_valid({key: value for key, value in event.items() if key != "epoch"})
    assert not validator.is_valid({**event, "type": "hg.other.v1"}) or type_ == STATUS_SCHEMA


def spoiled(data: Any) -> Iterator[Any]:
    """Yield the data without each member, with each of another type, and with one more, at every depth."""
    if isinstance(data, dict):
        yield {**data, "surplus": 1}
        for name, value in data.items():
            yield {key: each for key, each in data.items() if key != name}
            for wrong in (1.5, "x", None, [{}], *spoiled(value)):
                yield {**data, name: wrong}
    elif isinstance(data, list) and data:
        for wrong in spoiled(data[0]):
            yield [wrong, *data[1:]]


def test_the_folder_has_no_page_of_something_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        "README.md",
        *(f"{family}.md" for family in {address(type_).family for type_ in TYPES}),
    }
    assert Path(FOLDER / "README.md").read_text(encoding="utf-8").startswith("# The catalogue of events\n")
