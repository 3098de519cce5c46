# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The catalogue of the gateway: every type has a page and a schema, and those of the site as well."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import pytest

from sourcepulse.catalogue import STATUS_SCHEMA, example_of, known_types
from sourcepulse.catalogue.description import describe, example
from support.web.gateway import Gateway

TYPES = [*known_types(), STATUS_SCHEMA]
EVIL = '</pre><script>alert("x")</script>\u202e'
OWN = {
    "title": f"A deployment {EVIL}",
    "description": f"What {EVIL} means",
    "type": "object",
    "required": ["service", "odd name"],
    "properties": {
        "service": {"type": "string", "description": EVIL},
        "odd name": {"type": "string"},
        "where": {"$ref": "#/$defs/a <b>"},
    },
    "$defs": {"a <b>": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    "examples": [{"service": EVIL, "odd name": "'; alert(1); '", "where": {"x": 1}}],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a type of its site."""
    folder = tmp_path_factory.mktemp("catalogue")
    own = folder / "schemas"
    own.mkdir()
    (own / "site.deploy.finished.v1.json").write_text(json.dumps(OWN), encoding="utf-8")
    (own / "site.deploy.finished.v2.json").write_text('{"type": "object"}', encoding="utf-8")
    settings = f'schemas_dir = "{own}"\n[web]\norigins = ["https://docs.example.org"]\n'
    with closing(Gateway(folder / "gateway", configuration=settings)) as gateway:
        gateway.start()
        yield gateway


def test_every_type_has_a_page_with_its_key_fields_example_and_programs(site: Gateway) -> None:
    for type_ in TYPES:
        answer = site.get(f"/catalogue/{type_}")
        about, text = describe(type_), html.unescape(answer.text)
        assert answer.status == 200, type_
        assert about.title in text
        assert about.promise in text
        assert f"<code>{about.address.key}</code>" in text
        for field in about.fields:
            assert f"<code>{field.name}</code>" in text
            assert field.description in text
        for shape in about.shapes:
            assert f'tabindex="-1">{shape.name}</h3>' in text
        assert "A recorded example" in text
        assert example(type_)["id"] in text
        for href in re.findall(r'href="#([^"]+)"', answer.text):
            assert f'id="{href}"' in answer.text
        assert text.count(f"{site.origin}/events?") == 3
        assert "Make a queue" in text


def test_every_type_has_a_schema_that_its_example_fits(site: Gateway) -> None:
    listed = site.get("/schemas/").document
    assert set(listed) == {*TYPES, "envelope.v1", "site.deploy.finished.v1", "site.deploy.finished.v2"}
    for type_, path in listed.items():
        answer = site.get(path)
        assert answer.headers["Content-Type"] == "application/schema+json"
        schema = answer.document
        assert schema["$id"] == f"urn:sourcepulse:{type_}"
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
        if type_ in TYPES:
            assert f'href="{path}"' in site.get(f"/catalogue/{type_}").text
            validator.validate(example(type_)["data"])
        assert '"$ref": "urn:' not in answer.text
    assert site.get("/schemas/hg.push.json").document == site.get("/schemas/hg.push.v1.json").document
    assert site.get("/schemas/system.hg.down.json").document["$id"] == "urn:sourcepulse:system.status.v1"


def test_a_cache_asks_again_and_only_listed_origins_read(site: Gateway) -> None:
    for path in ("/schemas/hg.push.v1.json", "/asyncapi.json"):
        answer = site.get(path, {"Origin": "https://docs.example.org"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://docs.example.org"
        assert answer.headers["Vary"] == "Origin"
        assert site.get(path, {"Origin": "https://evil.example.org"}).headers["Access-Control-Allow-Origin"] is None
        again = site.get(path, {"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")


def test_the_asyncapi_document_has_every_type(site: Gateway) -> None:
    document = site.get("/asyncapi.json").document
    assert set(document["channels"]) == {*TYPES, "site.deploy.finished.v1", "site.deploy.finished.v2"}


def test_the_list_has_every_type_by_source_and_a_version_only_where_there_are_several(site: Gateway) -> None:
    text = site.get("/catalogue").text
    for name in ("Mercurial", "Buildbot", "Bugzilla", "The system", "This site"):
        assert f">{name}</h2>" in text
    assert '<a href="/catalogue/hg.push.v1">hg.push</a>' in text
    assert '<a href="/catalogue/site.deploy.finished.v2">site.deploy.finished.v2</a>' in text
    assert 'href="/catalogue/system.status.v1">system.&lt;service&gt;.&lt;state&gt;</a>' in text
    chosen = site.get("/catalogue/hg.push").text
    assert '<a href="/catalogue/hg.push.v1" aria-current="page">' in chosen
    assert site.get("/catalogue/?type=hg.push").text == chosen
    assert "system.hg.down" in site.get("/catalogue/system.hg.down").text


def test_an_unknown_type_is_not_found_and_the_nearest_is_named(site: Gateway) -> None:
    for path in ("/catalogue/hg.pusch", "/schemas/hg.pusch.json"):
        answer = site.get(path)
        assert answer.status == 404
        assert "hg.push.v1" in answer.text
    assert site.get("/schemas/hg.push.v1").status == 404
    assert site.get("/schemas/../envelope.json").status == 404
    assert site.get("/catalogue/a/b").status == 400
    assert site.get(f"/catalogue/{'x' * 300}").status == 400
    assert site.get("/catalogue/%00%ff").status == 404


def test_the_text_of_a_site_stays_text(site: Gateway) -> None:
    text = site.get("/catalogue/site.deploy.finished.v1").text
    assert "<script>" not in text
    assert "\u202e" not in text.partition("<aside")[2]
    assert r"\u202e" in text
    assert 'href="#shape-1">a &lt;b&gt;</a>' in text
    empty = site.get("/catalogue/site.deploy.finished").text
    assert "its schema has no example" in empty
    assert "An event of this site" in empty


def test_a_wrong_schema_of_the_site_is_named_and_the_others_stay(tmp_path: Path) -> None:
    own = tmp_path / "schemas"
    own.mkdir()
    good = own / "site.good.v1.json"
    good.write_text('{"type": "object", "title": "Good"}', encoding="utf-8")
    with closing(Gateway(tmp_path / "gateway", configuration=f'schemas_dir = "{own}"\n')) as gateway:
        gateway.start()
        assert "site.good" in gateway.get("/catalogue").text
        (own / "site.bad.v1.json").write_text("{", encoding="utf-8")
        text = gateway.get("/catalogue").text
        assert "site.bad.v1.json cannot be used" in text
        assert "site.good" in text
        assert gateway.get("/schemas/site.good.json").status == 200
        (own / "site.bad.v1.json").write_text('{"type": "object"}', encoding="utf-8")
        assert "cannot be used" not in gateway.get("/catalogue").text
        assert gateway.get("/schemas/site.bad.json").document["$id"] == "urn:sourcepulse:site.bad.v1"


def test_the_newest_event_of_the_log_is_shown(gateway: Gateway) -> None:
    old, new = example_of("hg.tree.closed"), example_of("hg.tree.closed")
    new = new._replace(id="of-today", data={**new.data, "reason": f"today {EVIL}"})
    bug = example_of("bugzilla.bug.changed")
    gateway.append(old, new, bug, example_of("system.hg.down"))
    closed = gateway.get("/catalogue/hg.tree.closed").text
    assert "The newest one here" in closed
    assert "of-today" in closed
    assert "<script>" not in closed
    assert '<a href="/events.json?after=1&amp;limit=1">' in closed
    assert "The newest one here" in gateway.get("/catalogue/system.status").text
    assert "The newest one here" in gateway.get("/catalogue/system.hg.down").text
    assert "A recorded example" in gateway.get("/catalogue/system.hg.up").text
    assert "The newest one here" in gateway.get("/catalogue/bugzilla.bug.changed").text


def test_a_withdrawn_event_is_never_shown(gateway: Gateway) -> None:
    bug = example_of("bugzilla.bug.changed")
    gateway.append(bug)
    assert "The newest one here" in gateway.get("/catalogue/bugzilla.bug.changed").text
    gateway.append(example_of("bugzilla.bug.hidden")._replace(source=bug.source, subject=bug.subject))
    assert "A recorded example" in gateway.get("/catalogue/bugzilla.bug.changed").text
