# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Stories of changes as documents: that of the design's picture, with another tree that has the change too."""

from __future__ import annotations

from typing import Any

from sourcepulse_web.board.story_documents import HappenedDoc, PartDoc, StoryBugDoc, StoryDoc
from support.web.board_examples import BROKE, PARSE, PASTE, at, bug, node, pushes, ref, tree

NODE = node("1f0c5a2be9d0")
REPO = "integration/inbound"


def part(kind: Any, text: str, ref: str | None = None, state: Any = None) -> PartDoc:
    return PartDoc(kind=kind, text=text, ref=ref, state=state)


def plain(text: str) -> PartDoc:
    return part("plain", text)


def happened(clock: str, after_s: int, mark: str, *parts: PartDoc) -> HappenedDoc:
    return HappenedDoc(time=at(clock), after_s=after_s, mark=mark, parts=list(parts))


def story_bug(number: int, status: str, resolution: str | None, assigned_to: str | None) -> StoryBugDoc:
    return StoryBugDoc(
        bug=bug(number), status=status, resolution=resolution, product="Core", component="DOM", assigned_to=assigned_to
    )


def story(**more: Any) -> StoryDoc:
    """Return the story of the picture."""
    unit = part("word", "unit", "linux64-debug-unit", "new")
    document = StoryDoc(
        node=NODE,
        listed=True,
        title="Bug 1234 - handle empty input",
        text="Bug 1234 - handle empty input\n\nThe tokenizer read one byte too far.",
        bugs=[bug(1234)],
        author="alice",
        date="2026-11-22T11:59:00+01:00",
        branch="default",
        phase="public",
        parents=[node("9b7cf6d1c04e")],
        files=["src/parse.c", "tests/parse.t"],
        extra_files=0,
        push=next(push for push in pushes() if push["id"] == 800),
        tree=tree(),
        tree_then="open",
        verdict="not good",
        said="1 test fails that passed before, on 3 builds. 1 known failure. 1 build broke and was asked for again.",
        ended="all 40 builds ended",
        before=ref(700, "10:41:13", "bob", "77ab03fe5c61"),
        after=ref(900, "11:12:40", "carol", "5b09d7e2f418"),
        before_passed=39,
        before_of=40,
        failures=[PARSE, PASTE, BROKE],
        more_failures=0,
        happened=[
            happened("10:59:21", 0, "push", part("strong", "alice"), plain(" pushed 3 changes to "),
                     part("tree", "inbound", REPO), plain(" over ssh; this is the last of them")),
            happened("10:59:30", 9, "running", part("strong", "40 builds"),
                     plain(" asked for by scheduler inbound, the first started")),
            happened("11:02:11", 170, "passed", part("strong", "All 4 platforms build")),
            happened("11:07:05", 464, "new", unit, plain(" failed on linux64 debug: "),
                     part("test", "tests/parse.t:41"), plain(", new here")),
            happened("11:09:12", 591, "exception", part("word", "memory", "linux64-debug-memory", "exception"),
                     plain(" broke on linux64 debug: worker w12 lost; asked for again")),
            happened("11:09:40", 619, "bug", part("strong", "alice"), plain(" resolved "),
                     part("bug", "bug 1234", "1234"), plain(" as FIXED")),
            happened("11:26:00", 1599, "closed", part("strong", "inbound closed"),
                     plain(" by bob: unit fails on three platforms since "), part("node", "1f0c5a2be9d0", NODE)),
            happened("11:27:48", 1707, "passed", part("strong", "The last of 40 builds ended"), plain("; 32 passed")),
        ],
        same_push=[
            {"node": NODE, "text": "Bug 1234 - handle empty input", "author": "alice", "bugs": [bug(1234)]},
            {"node": node("9b7cf6d1c04e"), "text": "No bug - fix a typo in a comment", "author": "alice", "bugs": []},
            {"node": node("b02f7e19ac55"), "text": "Bug 1234 - tests for empty input", "author": "alice",
             "bugs": [bug(1234)]},
        ],
        same_push_more=0,
        bugs_named=[story_bug(1234, "RESOLVED", "FIXED", "alice")],
        bugs_naming=[story_bug(1305, "NEW", None, None)],
        also_in=[{"push": ref(300, "08:20:00", "alice", "1f0c5a2be9d0"), "name": "try", "passed": 38, "of": 40}],
    )  # fmt: skip
    return {**document, **more}  # type: ignore[typeddict-item]


def story_on_try(**more: Any) -> StoryDoc:
    """Return the story of the same change on another tree, where its builds have not ended."""
    push = next(push for push in pushes() if push["id"] == 900)
    quiet: dict[str, Any] = {"reason": None, "reason_bugs": [], "until": None, "refused": 0, "failing": []}
    own: dict[str, Any] = {
        "push": {**push, "id": 300, "repo": "try", "time": at("08:20:00"), "user": "alice", "node": NODE},
        "tree": tree(name="try", repo="try", state="open", **quiet),
        "tree_then": "not known",
        "verdict": "good so far",
        "said": "22 of 40 builds passed.",
        "ended": "18 builds have not ended",
        "failures": [],
        "happened": [],
        "same_push": [],
        "before": None,
        "after": None,
        "also_in": [{"push": ref(800, "10:59:21", "alice", "1f0c5a2be9d0"), "name": "inbound", "passed": 32, "of": 40}],
    }
    return story(**(own | more))
