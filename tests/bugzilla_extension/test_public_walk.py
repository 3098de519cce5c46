# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever is done under whatever parameters, what is published is what a visitor could see, and nothing of it is lost.

Each step's effect on what an anonymous visitor sees is read from the tables, and held against what a broker received.
Bugzilla is the fake one, or with BUGZILLA_HOME the real one there, which a visitor without a login then reads as well.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sourcepulse.events.event import Event
from support.bugzilla import tree as bugzilla_tree
from support.bugzilla.steps import Params, Step
from support.bugzilla.tree import open_tree
from support.bugzilla.visitor import Visitor
from support.bugzilla.walk import Walk

IS_REAL = "BUGZILLA_HOME" in os.environ
#: The time of a real database cannot be set, and its steps take longer.
DAILY_TRANSITIONS = 90 if IS_REAL else 150
SOAK_WALKS = 20 if IS_REAL else 100
SOAK_TRANSITIONS = 250 if IS_REAL else 1_000
SOAK_LIMIT_SECONDS = 3_600
#: A walk that publishes less than this has not seen anything.
SENT_LEAST = 20

EXTENSION = Path(__file__).parents[2] / "bugzilla_extension" / "SourcePulse"
#: Rules of the extension, each with what is there when it is broken.
MUTANTS = {
    "the check asks whether the bug is public": (
        "lib/EventCheck.pm", "return _withheld() unless $bug_id && $visibility->is_public_bug($bug_id);", ""
    ),
    "the check redacts again": ("lib/EventCheck.pm", "my $public = _again($redact, $data);", "my $public = $data;"),
    "old values are not published": ("lib/View.pm", "return \\%public unless $was;\n  $public{who}", "$public{who}"),
    "products of groups are private": (
        "lib/View.pm",
        "return undef unless $case->{is}; my $view = $full->(); return { words",
        "my $view = $full->(); return { words",
    ),
    "a thin row has no older lines": ("lib/FillThinRow.pm", "bugs_activity.id >= ?", "bugs_activity.id >= 0 * ?"),
    "a comment is as private as its file": (
        "lib/Redaction.pm", "return $self->is_public_attachment($comment->{attachment_id});\n}", "return 1;\n}"
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def walk(folder: Path, seed: int, transitions: int, *, two_folders: bool = False) -> Walk:
    """Walk, and return what came of it."""
    with ExitStack() as stack:
        tree = open_tree(folder)
        visitor = stack.enter_context(Visitor(tree.home)) if IS_REAL else None
        walked = stack.enter_context(Walk(tree, folder, seed, restricted=seed % 2 == 0, visitor=visitor))
        if two_folders:
            walked.go_on(transitions // 2)
            walked.two_folders(folder)
        walked.go_on(transitions)
        walked.end()
    return walked


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_published_is_what_a_visitor_saw_and_all_of_it(folder: Path, seed: int) -> None:
    walked = walk(folder, seed, DAILY_TRANSITIONS, two_folders=seed == 1 and not IS_REAL)
    assert walked.faults == []
    assert walked.counts["sent"] - walked.counts["withheld"] > SENT_LEAST


@pytest.mark.soak
@pytest.mark.timeout(SOAK_LIMIT_SECONDS)
@pytest.mark.parametrize("seed", range(1000, 1000 + SOAK_WALKS))
def test_a_long_walk_publishes_what_a_visitor_saw_and_all_of_it(folder: Path, seed: int) -> None:
    walked = walk(folder, seed, SOAK_TRANSITIONS, two_folders=not IS_REAL)
    assert walked.faults == []
    assert walked.counts["sent"] - walked.counts["withheld"] > SENT_LEAST


@pytest.mark.soak
@pytest.mark.skipif(IS_REAL, reason="a real tree has the extension as it is")
@pytest.mark.parametrize("rule", MUTANTS)
def test_a_walk_notices_that_a_rule_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    name, text, broken = MUTANTS[rule]
    copy = folder / "SourcePulse"
    shutil.copytree(EXTENSION, copy)
    # However it is laid out.
    pattern = r"\s*".join(re.escape(word) for word in re.findall(r"\w+|\S", text))
    changed, count = re.subn(pattern, lambda _: broken, (copy / name).read_text(), count=1)
    assert count == 1, "the rule is written otherwise now"
    (copy / name).write_text(changed)
    monkeypatch.setattr(bugzilla_tree, "MAKE", copy / "t" / "fake" / "make.pl")
    faults = []
    for seed in range(1, 6):
        (place := folder / str(seed)).mkdir()
        faults += walk(place, seed, 600).faults
        if faults:
            break
    assert faults, "the walk noticed nothing"


# -- what a walk has found once


def play(folder: Path, *steps: Step, restricted: bool = False) -> Walk:
    """Do these steps; `--` among them drains, compares with the history and publishes."""
    with Walk(open_tree(folder), folder, 1, restricted=restricted) as walked:
        walked.play(steps)
        walked.end()
    return walked


def step(do: str, number: int, **more: object) -> Step:
    params = Params(requirelogin=int(bool(more.get("is_closed"))))
    given = {"do": do, "token": f"TOKEN1x{number}x", "secret": 0, "bug": 0, "other": 0, "tick": 5, "params": params}
    return {**given, **more}


PUBLISH: Step = {"do": "publish"}
CLOSE = {"set": {"requirelogin": 1}, "is_closed": True}
OPEN = {"set": {"requirelogin": 0}}


def number(walked: Walk, bug: int) -> int:
    """Return the number of the bug that was made as this one, from 1; a real tree had bugs before."""
    return walked.tree.first_bug + bug - 1


def sent_of(walked: Walk, bug: int = 1) -> list[Event]:
    return [sent.event for sent in walked.stream.of(f"bug/{number(walked, bug)}") if sent.stored is None]


def types(walked: Walk) -> list[str]:
    return [event.type.removeprefix("bugzilla.").removesuffix(".v1") for event in sent_of(walked)]


def test_the_other_side_of_a_dependency_is_found_beside_an_update_of_the_same_second(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("create", 2),
        PUBLISH,
        step("edit", 3, bug=1),
        step("links", 4, bug=0, other=1, tick=0),
        PUBLISH,
    )
    assert walked.faults == []
    changed = [event for event in sent_of(walked, 2) if event.type == "bugzilla.bug.changed.v1"]
    assert [[change["field_name"] for change in event.data["changes"]] for event in changed] == [
        ["cf_text", "summary"],
        ["blocks"],
    ]


@pytest.mark.parametrize("how", [None, "thin"])
def test_what_waits_while_the_site_is_closed_is_published_when_it_opens(folder: Path, how: str | None) -> None:
    walked = play(
        folder,
        step("create", 1),
        PUBLISH,
        step("edit", 2, how=how),
        step("params", 3, **CLOSE),
        PUBLISH,
        step("edit", 4, is_closed=True),
        PUBLISH,
        step("params", 5, **OPEN),
        PUBLISH,
        restricted=True,
    )
    assert walked.faults == []
    assert types(walked) == ["bug.created", "comment.created", "bug.changed"]
    assert "TOKEN1x2xa" in str(sent_of(walked)[-1].data["changes"])


@pytest.mark.parametrize("how", [None, "thin", "blind"])
def test_where_a_hidden_bug_went_is_not_published(folder: Path, how: str | None) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("rename", 2, other=0),
        PUBLISH,
        step("go", 3, other=3, how=how),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked)[-1] == "bug.hidden"
    assert sent_of(walked)[-1].routing_key == "bugzilla.bug.hidden.TestProduct.TestComponent"


def test_a_bug_whose_creation_was_withheld_is_hidden_if_it_was_shown_since(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("hide", 2),
        PUBLISH,
        step("sql_show", 3),
        step("edit", 4, tick=0),
        step("comment", 5),
        PUBLISH,
        step("hide", 6),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked)[-1] == "bug.hidden"


def test_a_bug_that_the_stream_shows_is_hidden_though_its_publication_was_withheld(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        PUBLISH,
        step("sql_hide", 2),
        step("sql_show", 3, tick=5_000),
        step("hide", 4, tick=5_000),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked)[-1] == "bug.hidden"


def test_an_update_that_no_hook_saw_is_found_beside_one_of_the_same_second(folder: Path) -> None:
    walked = play(
        folder, step("create", 1), PUBLISH, step("status", 2, how="missed"), step("status", 3, tick=0), PUBLISH
    )
    assert walked.faults == []
    changed = [event for event in sent_of(walked) if event.type == "bugzilla.bug.changed.v1"]
    added = [change["added"] for event in changed for change in event.data["changes"]]
    assert sorted(word for word in added if word in ("RESOLVED", "CONFIRMED")) == ["CONFIRMED", "RESOLVED"]


def test_a_comment_that_was_shown_unseen_is_found_beside_an_update_of_the_same_second(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("comment", 2, secret=1),
        PUBLISH,
        step("toggle", 3, other=1, how="blind"),
        step("edit", 4, tick=0),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked)[-2:] == ["bug.changed", "comment.published"]


@pytest.mark.parametrize("hows", [("missed", None), ("missed", None, "missed")])
def test_a_comment_whose_privacy_changed_often_in_one_second_ends_as_it_is(
    folder: Path, hows: tuple[str | None, ...]
) -> None:
    toggles = [step("toggle", 3 + place, other=1, tick=0, how=how) for place, how in enumerate(hows)]
    walked = play(folder, step("create", 1), step("comment", 2), PUBLISH, *toggles, PUBLISH)
    assert walked.faults == []
    assert types(walked)[-1] == ("comment.hidden" if len(hows) % 2 else "comment.published")


def test_what_was_hidden_unseen_is_found_beside_an_update_of_the_same_second(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("create", 2),
        step("comment", 3),
        step("attach", 4),
        PUBLISH,
        step("edit", 5),
        step("toggle", 6, other=1, tick=0, how="missed"),
        step("attachment", 7, other=3),
        step("attachment", 8, other=0, tick=0, how="missed"),
        step("edit", 9, bug=1),
        step("hide", 10, bug=1, tick=0, how="missed"),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked)[-2:] == ["comment.hidden", "attachment.hidden"]
    assert sent_of(walked, 2)[-1].type == "bugzilla.bug.hidden.v1"


def test_a_link_whose_other_end_was_hidden_and_shown_again_comes_with_that(folder: Path) -> None:
    walked = play(
        folder,
        step("create", 1),
        step("create", 2),
        PUBLISH,
        step("links", 3, bug=0, other=1),
        step("hide", 4, bug=1),
        {**PUBLISH, "reconcile": False},
        step("show", 5, bug=1),
        PUBLISH,
    )
    assert walked.faults == []
    published = [event for event in sent_of(walked, 2) if event.type == "bugzilla.bug.published.v1"]
    assert [list(event.data["bug"]["blocks"]) for event in published] == [[number(walked, 1)]]


@pytest.mark.parametrize("how", [None, "thin"])
def test_a_bug_that_was_shown_and_hidden_while_the_site_was_closed_is_not_mentioned(
    folder: Path, how: str | None
) -> None:
    walked = play(
        folder,
        step("create", 1, secret=1),
        PUBLISH,
        step("params", 2, **CLOSE),
        step("show", 3, is_closed=True, how=how),
        step("hide", 4, tick=0, is_closed=True),
        step("params", 5, **OPEN),
        PUBLISH,
    )
    assert walked.faults == []
    assert types(walked) == []
