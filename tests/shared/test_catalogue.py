# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue: every type of the contract has a closed schema, and our validator agrees with jsonschema."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.catalogue import check, complete_type, known_types, schema_for
from sourcepulse.errors import EventError
from sourcepulse.events.event import routing_words
from sourcepulse.events.limits import bound
from sourcepulse.events.validator import ANNOTATIONS, KEYWORDS, defects
from sourcepulse.events.wire import dataschema
from support.events.examples import json_values, wire_examples
from support.events.schema_values import fitting, mutated

EXAMPLES = {document["type"]: document["data"] for document in map(json.loads, wire_examples())}

#: The contract, by hand: section 2 to 5 of the events' page.
TYPES_BY_FAMILY = {
    "hg": (
        "push bookmark.created bookmark.moved bookmark.deleted tag.created tag.moved tag.deleted branch.created "
        "head.created head.closed phase.changed obsolete.created repo.created repo.stripped tree.closed tree.opened "
        "tree.approval tree.refused"
    ),
    "change": "added",
    "build": (
        "request.submitted request.completed buildset.completed started finished step.started step.finished "
        "log.finished worker.connected worker.disconnected worker.missing worker.paused worker.unpaused "
        "master.started master.stopped"
    ),
    "test": "run.finished case.failed case.passed case.skipped",
    "bugzilla": (
        "bug.created bug.changed bug.closed bug.reopened bug.duplicated bug.assigned bug.moved bug.hidden "
        "bug.published bug.deleted comment.created comment.hidden comment.published attachment.created "
        "attachment.changed attachment.obsoleted attachment.deleted attachment.hidden attachment.published "
        "flag.requested flag.granted flag.denied flag.cleared product.created product.changed product.deleted "
        "component.created component.changed component.deleted version.created version.changed version.deleted "
        "milestone.created milestone.changed milestone.deleted keyword.created keyword.changed keyword.deleted"
    ),
    "system": (
        "relay.heartbeat event.withheld probe queue.overgrown queue.dropped webhook.failing webhook.refused "
        "webhook.parked webhook.resumed webhook.disabled webhook.test"
    ),
}
CONTRACT = [f"{family}.{name}" for family, names in TYPES_BY_FAMILY.items() for name in names.split()]

BEST_EFFORT = {
    *(f"build.worker.{word}.v1" for word in ("connected", "disconnected", "missing", "paused", "unpaused")),
    "build.master.started.v1",
    "build.master.stopped.v1",
    "hg.tree.refused.v1",
    "system.relay.heartbeat.v1",
    "system.probe.v1",
    "system.queue.overgrown.v1",
    "system.queue.dropped.v1",
    "system.webhook.test.v1",
}
#: Types without the common members.
BARE = {"bugzilla.bug.deleted", "bugzilla.bug.hidden", "bugzilla.comment.hidden", "bugzilla.attachment.hidden"}

#: Every schema that we ship, by the name that `schema_for` takes.
SCHEMAS = [f"{name}.v1" for name in (*CONTRACT, "system.status", "envelope")]


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema within a schema."""
    yield schema
    for name in ("properties", "patternProperties", "$defs"):
        for part in schema.get(name, {}).values():
            yield from parts(part)
    for part in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        yield from parts(part)


def test_every_type_of_the_contract_is_known_and_no_other() -> None:
    assert known_types() == sorted(f"{name}.v1" for name in CONTRACT)


def test_every_shipped_file_can_be_asked_for() -> None:
    directory = files("sourcepulse").joinpath("schemas")
    entries = [*directory.iterdir(), *directory.joinpath("events").iterdir()]
    names = {entry.name.removesuffix(".json") for entry in entries}

    assert set(SCHEMAS) <= names
    for name in names - {"events"}:
        assert schema_for(name)
    # The others are checked below, each by itself.
    for name in names - {"events", *SCHEMAS}:
        jsonschema.Draft202012Validator.check_schema(schema_for(name))


def test_the_common_definitions_are_all_there_when_their_file_is_asked_for() -> None:
    written = json.loads(files("sourcepulse").joinpath("schemas", "common.v1.json").read_text(encoding="utf-8"))

    assert schema_for("common.v1")["$defs"].keys() == written["$defs"].keys()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_complete_in_itself_and_says_what_it_is(name: str) -> None:
    schema = schema_for(name)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:sourcepulse:{name}"
    assert schema["title"]
    assert schema["description"]
    references = [part["$ref"] for part in parts(schema) if "$ref" in part]
    assert all(reference.removeprefix("#/$defs/") in schema["$defs"] for reference in references)
    assert {reference.removeprefix("#/$defs/") for reference in references} == set(schema.get("$defs", {}))


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_schema_uses_a_keyword_that_the_validator_does_not_know(name: str) -> None:
    for part in parts(schema_for(name)):
        assert set(part) <= ANNOTATIONS | set(KEYWORDS)
        assert part.get("additionalProperties", False) is False


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_object_is_closed_and_every_member_is_always_present(name: str) -> None:
    open_ones = []
    for part in parts(schema_for(name)):
        if "properties" in part:
            assert part["additionalProperties"] is False
            if name != "envelope.v1":
                assert part["required"] == list(part["properties"])
            assert set(part.get("patternProperties", {})) <= {"^cf_"}
        elif part.get("type") == "object":
            open_ones.append(part)
    # What the admin chose to publish of a build's properties, and the data of an event within its envelope.
    assert len(open_ones) <= 1


@pytest.mark.parametrize("type_", [f"{name}.v1" for name in CONTRACT])
def test_every_type_says_which_guarantee_it_has(type_: str) -> None:
    guarantee = "Guarantee: best effort." if type_ in BEST_EFFORT else "Guarantee: exact."

    assert guarantee in schema_for(type_)["description"]


@pytest.mark.parametrize("name", CONTRACT)
def test_the_common_members_are_in_every_event_that_has_them(name: str) -> None:
    schema = schema_for(name)
    shape = schema["$defs"][schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
    members = set(shape["properties"])
    family = name.split(".", maxsplit=1)[0]

    full = family != "system" and name not in BARE
    assert ({"recovered", "truncated", "raw"} <= members) == full
    assert ("change_set" in members) == (full and family in ("hg", "bugzilla"))
    assert ({"repo", "repo_url", "user", "source", "url"} <= members) == (family == "hg")


def test_lists_of_words_are_open() -> None:
    for name in SCHEMAS:
        assert not any("enum" in part for part in parts(schema_for(name)))


@pytest.mark.parametrize("type_", [f"{name}.v1" for name in CONTRACT])
def test_the_dataschema_of_every_type_leads_to_its_schema(type_: str) -> None:
    assert dataschema(type_) == schema_for(type_)["$id"]


@pytest.mark.parametrize("type_", EXAMPLES)
def test_the_examples_of_the_contract_are_in_the_schemas_and_pass(type_: str) -> None:
    assert EXAMPLES[type_] in schema_for(type_)["examples"]
    check(type_, EXAMPLES[type_])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_examples_of_every_schema_fit_it(name: str) -> None:
    schema = schema_for(name)
    validator = jsonschema.Draft202012Validator(schema)

    for example in schema.get("examples", []):
        validator.validate(example)
        assert list(defects(schema, example)) == []
    if name in (*EXAMPLES, "system.status.v1"):
        assert schema["examples"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SCHEMAS), st.data())
def test_the_validator_agrees_with_jsonschema(name: str, data: st.DataObject) -> None:
    schema = schema_for(name)
    value = data.draw(st.one_of(fitting(schema, schema), *map(st.just, schema.get("examples", []))))
    for _ in range(data.draw(st.integers(0, 2))):
        value = data.draw(mutated(value))

    ours = list(defects(schema, value))
    theirs = list(jsonschema.Draft202012Validator(schema).iter_errors(value))

    assert bool(ours) == bool(theirs), (ours, theirs)
    # A place that we name is one that jsonschema names, or lies below it (in the branches of an anyOf).
    places = [
        "".join(f"/{str(word).replace('~', '~0').replace('/', '~1')}" for word in e.absolute_path) for e in theirs
    ]
    assert all(any(f"{pointer}/".startswith(f"{place}/") for place in places) for pointer, _ in ours)


@given(st.sampled_from(SCHEMAS), json_values)
def test_the_validator_agrees_with_jsonschema_on_any_json(name: str, value: Any) -> None:
    schema = schema_for(name)

    assert bool(list(defects(schema, value))) == (not jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize(
    ("type_", "path", "value", "message"),
    [
        ("hg.push", ["changesets", 0, "node"], "1F0C", "at /changesets/0/node (expected a string that matches"),
        ("hg.push", ["changesets", 0, "date", 1], 1.5, "at /changesets/0/date/1 (expected integer, got number)"),
        ("hg.push", ["changesets", 0, "parents"], ["0" * 40] * 3, "at /changesets/0/parents (expected at most 2"),
        ("hg.push", ["count"], -1, "at /count (expected 0 or more, got -1)"),
        ("hg.push", ["count"], True, "at /count (expected integer, got boolean)"),
        ("hg.push", ["user"], 1, "at /user (expected string or null, got integer)"),
        ("hg.push", ["a/b"], 1, "(has the member 'a/b', which is none of repo, "),
        ("hg.push", ["user"], ..., "(lacks the member 'user')"),
        ("build.finished", ["results"], "2", "at /results (expected integer or null, got string)"),
        ("bugzilla.bug.changed", ["bug", "qa_contact"], {"id": 1}, "at /bug/qa_contact (lacks the member 'name'"),
        ("bugzilla.bug.changed", ["bug", "cf_x"], [1], "at /bug/cf_x/0 (expected string, got integer)"),
        ("bugzilla.bug.changed", ["bug", "xcf_x"], "", "at /bug (has the member 'xcf_x'"),
        ("bugzilla.bug.changed", ["changes", 0, "added"], [{"id": 7}], "got object; or lacks the member 'name')"),
    ],
)
def test_an_error_names_the_place_and_what_is_expected(type_: str, path: list[Any], value: Any, message: str) -> None:
    data = copy.deepcopy(EXAMPLES[f"{type_}.v1"])
    holder = data
    for word in path[:-1]:
        holder = holder[word]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value

    with pytest.raises(EventError) as caught:
        check(type_, data)
    assert message in str(caught.value)
    assert f"{type_}.v1" in str(caught.value)


@pytest.mark.parametrize("value", [None, "x", 1, []])
def test_data_that_is_not_an_object_is_refused(value: Any) -> None:
    with pytest.raises(EventError, match="expected object"):
        check("hg.push.v1", value)


def test_every_state_of_every_service_has_the_schema_of_states() -> None:
    for type_ in ("system.hg.down", "system.my-service.on_fire.v1", "system.broker.up.v1"):
        assert schema_for(type_)["$id"] == "urn:sourcepulse:system.status.v1"
        check(type_, {"message": None, "until": None, "url": None, "figures": None})
        with pytest.raises(EventError, match="until"):
            check(type_, {"message": None, "until": "tomorrow", "url": None, "figures": None})
    assert schema_for("system.status") == schema_for("system.status.v1")


def test_a_heartbeat_and_a_withheld_event_have_schemas_of_their_own() -> None:
    check("system.event.withheld", {"type": "bugzilla.bug.changed.v1"})
    with pytest.raises(EventError):
        check("system.event.withheld", {"message": None, "until": None, "url": None, "figures": None})
    for type_ in ("system.relay.heartbeat", "system.hg.heartbeat"):
        assert "interval_s" in schema_for(type_)["properties"]
        with pytest.raises(EventError):
            check(type_, {"message": None, "until": None, "url": None, "figures": None})


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("hg.push", "hg.push.v1"),
        ("hg.push.v1", "hg.push.v1"),
        ("hg.bookmark.created", "hg.bookmark.created.v1"),
        ("system.hg.down", "system.hg.down.v1"),
        ("system.hg.down.v1", "system.hg.down.v1"),
        ("system.whatever.came_up", "system.whatever.came_up.v1"),
    ],
)
def test_a_type_is_completed_with_its_newest_version(text: str, full: str) -> None:
    assert complete_type(text) == full
    assert routing_words(full) == text.removesuffix(".v1").split(".")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hg.pusch", "hg.push.v1"),
        ("hg.push.v2", "hg.push.v1"),
        ("build.finish", "build.finished.v1"),
        ("bug.closed", "bugzilla.bug.closed.v1"),
        ("system.status", "system.<service>.<state>"),
        ("system.status.v1", "system.<service>.<state>"),
        ("", "sourcepulse schema"),
        ("xyzzy", "sourcepulse schema"),
        ("system.hg.down.v2", "unknown"),
        ("system.HG.down", "unknown"),
        ("hg.push\n", "hg.push.v1"),
        ("../envelope", "unknown"),
        ("common.v1", "unknown"),
    ],
)
def test_an_unknown_type_is_an_event_error_with_the_nearest_names(text: str, hint: str) -> None:
    with pytest.raises(EventError, match="is unknown") as caught:
        complete_type(text)
    assert hint in str(caught.value)


def test_a_schema_belongs_to_its_caller() -> None:
    schema_for("hg.push")["properties"].clear()
    schema_for("hg.push")["$defs"]["Changeset"].clear()

    check("hg.push", EXAMPLES["hg.push.v1"])
    assert "repo" in schema_for("hg.push")["properties"]


def test_bounded_data_still_fits_its_schema() -> None:
    for type_, data in EXAMPLES.items():
        check(type_, bound(data))


def test_nothing_is_read_when_the_catalogue_is_imported() -> None:
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == 'open' else None)\n"
        "import sourcepulse.catalogue\n"
        "assert not [path for path in opened if path.endswith('.json')], opened\n"
        "sourcepulse.catalogue.known_types()\n"
        "sourcepulse.catalogue.schema_for('hg.push')\n"
        "assert [path for path in opened if path.endswith('.json')]\n"
        "assert not {'kombu', 'stomp', 'jsonschema'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
