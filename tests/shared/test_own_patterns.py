# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""No schema of a site and no data can keep `emit` busy: what could is refused with a sentence."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse import Publisher
from sourcepulse.catalogue import schema_for
from sourcepulse.catalogue.patterns import EFFORT_MAX, shape_of
from sourcepulse.errors import ConfigError, EventError

#: A loaded machine is slow; without a limit these would take hours.
LIMIT_SECONDS = 30


def publisher(folder: Path, **schema: Any) -> Publisher:
    (folder / "site.test.v1.json").write_text(json.dumps({"type": "object", **schema}), encoding="utf-8")
    return Publisher(folder / "o.db", schemas=folder)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^(a+)+$", "itself repeats"),
        ("^(a|a)*$", "has alternatives"),
        ("(?:x(a?)){2,}", "itself repeats"),
        ("((a{1,9}b)*)+", "itself repeats"),
        ("([^]]*[]a]*)*", "itself repeats"),
        (r"([\]]*)*", "itself repeats"),
        ("^" + "(a+b*){5}" * 4, "too many ways"),
        ("^(a?){40}a{40}$", "too many ways"),
        ("^" + "a?" * 60, "too many ways"),
        ("(?:){20000}", "20000 times"),
        ("((a{100}){100}){100}", "too long"),
        (r"^(a+)\1$", "refers back"),
        ("(?=a+)b", "begins with (?"),
        ("(?i)a", "begins with (?"),
    ],
)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
def test_a_pattern_that_could_match_for_ever_is_refused_with_its_place(
    tmp_path: Path, pattern: str, said: str, keyword: str
) -> None:
    part = {keyword: pattern} if keyword == "pattern" else {keyword: {pattern: {}}}
    with pytest.raises(ConfigError, match=f"at /properties/a the pattern .*{re.escape(said)}"):
        publisher(tmp_path, properties={"a": part})


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("^[0-9a-f]{40}$", "a" * 40, "a" * 39),
        (r"^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$", "192.168.1.1", "192.168.1"),
        (r"^[0-9]+\.[0-9]+\.[0-9]+(?:-[a-z0-9.]+)?$", "1.20.3-rc.1", "1.20"),
        ("^https?://[^/]+/.*$", "https://host/" + "x" * 2_000, "ftp://host/"),
        (r"^(success|failure|a\|b|[|(]{})$", "|{}", "maybe"),
        (r"^(\.[a-z]{2})*$", ".ab.cd", ".ab.c"),
        ("[a-z]{1,200}@[a-z.]{1,200}[^.]", "a" * 150 + "@host.org", "a" * 150),
        ("deploy", "x" * 100_000 + "deploy", "x" * 100_000),
    ],
)
def test_ordinary_patterns_match_as_before(tmp_path: Path, pattern: str, fits: str, does_not: str) -> None:
    with publisher(tmp_path, properties={"a": {"pattern": pattern}}) as own:
        own.emit("site.test", {"a": fits})
        with pytest.raises(EventError, match="expected a string that matches"):
            own.emit("site.test", {"a": does_not})


NODE = {"anyOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/other"}]}
DEEP: dict[str, Any] = {}
for _ in range(60):
    DEEP = {"child": DEEP}


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"properties": {"a": {"pattern": "^a*a*a*a*a*b"}}}, {"a": "a" * 500}),
        ({"properties": {"a": {"pattern": "a+b"}}}, {"a": "a" * 200_000}),
        ({"properties": {"a": {"items": {"pattern": "^a*a*a*b?"}}}}, {"a": ["a" * 300] * 800}),
        ({"patternProperties": {"a*a*a*b": {}}}, {"a" * 700: 1}),
        ({"properties": {"a": {"items": {"enum": list(range(30_000))}}}}, {"a": [1] * 30_000}),
        ({"properties": {"a": {"items": {"dependentRequired": {"b": ["c"] * 30_000}}}}}, {"a": [{}] * 30_000}),
        ({"patternProperties": {"x": {"items": {}}}}, {"x" * 100_000: [0] * 60_000}),
        (
            {
                "properties": {"child": NODE},
                "$defs": {"node": {"properties": {"child": NODE}}, "other": {"properties": {"child": NODE}}},
            },
            DEEP,
        ),
    ],
)
def test_data_that_would_take_too_long_is_refused(tmp_path: Path, schema: Any, data: Any) -> None:
    with publisher(tmp_path, **schema) as own:
        began = time.monotonic()
        with pytest.raises(EventError, match="would take too long to check"):
            own.emit("site.test", data)
    assert time.monotonic() - began < LIMIT_SECONDS
    assert not (tmp_path / "o.db").exists()


def test_a_huge_schema_is_read_in_time(tmp_path: Path) -> None:
    links = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(5_000)}
    began = time.monotonic()
    with pytest.raises(ConfigError, match="leads on to more than 256 schemas"):
        publisher(tmp_path, **{"$defs": {**links, "d5000": {}}})
    assert time.monotonic() - began < LIMIT_SECONDS


PARTS = st.recursive(
    st.sampled_from(["a", "b", "[ab]", "[^b]", ".", r"\.", "{}", "^", "$"]),
    lambda inner: st.one_of(
        st.builds("({})".format, inner),
        st.builds("(?:{})".format, inner),
        st.builds("{}|{}".format, inner, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("{}{}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{,4}", "{2,}", "*?"])),
    ),
    max_leaves=12,
)


@given(PARTS, st.text("ab.", max_size=60))
def test_what_is_not_refused_ends_in_time(pattern: str, text: str) -> None:
    try:
        compiled = re.compile(pattern)
        shape = shape_of(pattern)
    except (re.error, ValueError):
        return
    if shape.cost(len(text)) <= EFFORT_MAX:
        began = time.process_time()
        compiled.search(text + "!")
        assert time.process_time() - began < LIMIT_SECONDS


def test_the_patterns_of_our_own_schemas_could_be_those_of_a_site() -> None:
    found = re.findall(r"'pattern': '((?:[^'\\]|\\.)*)'", str(schema_for("hg.push.v1")))
    assert found
    for pattern in found:
        shape_of(pattern.replace("\\\\", "\\"))
