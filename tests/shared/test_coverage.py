# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which numbers topics can be checked by."""

from __future__ import annotations

import pytest

from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.events.event import Event, Numbers
from sourcepulse.gaps import Lane


def event(type_: str, source: str, data: dict[str, object] | None = None) -> Event:
    made = Event.of(type_, source=source, key=["k"], subject=None, time=0.0, data=data or {})
    return made.numbered(Numbers(epoch="e", sequence=10, typesequence=3))


PUSH = event("hg.push.v1", "hg://h/r")
BUILD = event("build.finished.v1", "buildbot://ci")
RENAME = event("bugzilla.product.changed.v1", "bugzilla://site")


@pytest.mark.parametrize(
    ("patterns", "checked", "lane", "number"),
    [
        (["hg.#"], PUSH, Lane("hg://h/r", "e", None), 10),
        (["#"], PUSH, Lane("hg://h/r", "e", None), 10),
        (["hg.push.#"], PUSH, Lane("hg://h/r", "e", "hg.push.v1"), 3),
        (["*.push.#"], PUSH, Lane("hg://h/r", "e", "hg.push.v1"), 3),
        (["hg.push.integration.#"], PUSH, None, 0),
        (["hg.push.*"], PUSH, None, 0),
        (["build.#"], BUILD, Lane("buildbot://ci", "e", "build.finished.v1"), 3),
        (["build.#", "change.#"], BUILD, Lane("buildbot://ci", "e", "build.finished.v1"), 3),
        (["build.#", "change.#", "test.#"], BUILD, Lane("buildbot://ci", "e", None), 10),
        (["build.finished.failure.#"], BUILD, None, 0),
        (["build.finished.failure.#", "build.finished.#"], BUILD, Lane("buildbot://ci", "e", "build.finished.v1"), 3),
        (["bugzilla.#"], RENAME, Lane("bugzilla://site", "e", None), 10),
        (
            ["bugzilla.bug.#", "bugzilla.product.#"],
            RENAME,
            Lane("bugzilla://site", "e", "bugzilla.product.changed.v1"),
            3,
        ),
        (["bugzilla.bug.#"], RENAME, None, 0),
    ],
)
def test_whole_sources_go_by_sequence_whole_types_by_typesequence_and_the_rest_by_none(
    patterns: list[str], checked: Event, lane: Lane | None, number: int
) -> None:
    assert Coverage(patterns).lane(checked) == (lane, number)


def test_a_withheld_event_fills_the_number_of_the_type_it_had() -> None:
    withheld = event("system.event.withheld.v1", "bugzilla://site", {"type": "bugzilla.bug.changed.v1"})
    assert Coverage(["bugzilla.bug.changed.#"]).lane(withheld) == (
        Lane("bugzilla://site", "e", "bugzilla.bug.changed.v1"),
        3,
    )


def test_replayed_and_unnumbered_events_are_outside_the_order() -> None:
    assert Coverage(["#"]).lane(PUSH._replace(replayed=True)) == (None, 0)
    assert Coverage(["#"]).lane(PUSH._replace(numbers=None)) == (None, 0)


def test_the_types_of_which_only_a_part_is_taken_are_named() -> None:
    assert Coverage(["hg.#"]).unchecked() == ()
    assert Coverage(["hg.push.#"]).unchecked() == ()
    assert Coverage(["hg.push.integration.#"]).unchecked() == ("hg.push.v1",)
    assert Coverage(["build.finished.failure.#", "hg.#"]).unchecked() == ("build.finished.v1",)
    assert "hg.bookmark.moved.v1" in Coverage(["hg.*.*.repo"]).unchecked()
    assert Coverage(["hg.push.#", "hg.push.a"]).unchecked() == ()


def test_the_types_that_are_taken_at_all_are_named() -> None:
    assert Coverage(["hg.push.a"]).taken() == ("hg.push.v1",)
