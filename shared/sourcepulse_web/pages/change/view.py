# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the templates of a change draw, made from its stories. Nothing here reads or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sourcepulse_web.pages.trees import texts
from sourcepulse_web.pages.trees.picture import BAD, GOOD, QUIET, picture

if TYPE_CHECKING:
    from sourcepulse_web.board.documents import BugDoc, WordDoc
    from sourcepulse_web.board.story_documents import HappenedDoc, PartDoc, StoryBugDoc, StoryDoc

#: Heading and class of each verdict; only good and bad have a symbol.
VERDICTS = {
    "good": ("Good", "passed"),
    "good so far": ("Good so far", "plain"),
    "not good": ("Not good", "new"),
    "not yet known": ("Not yet known", "plain"),
}
ICONS = {"good": picture(GOOD, "✓"), "not good": picture(BAD, "✖")}
UNDECIDED = picture(QUIET)
#: Of a mark that is no state of a word.
MARKS = {"closed": "■", "opened": "○", "stripped": "✂", "push": "●", "bug": "●"}
#: More matches than a person reads; a longer beginning finds fewer.
MATCHES_MAX = 100


def change_values(stories: Sequence[StoryDoc], digits: str, seconds: float, after: str) -> dict[str, Any]:
    """Return what the page of one change draws: a section for each push of it."""
    now = _now(seconds)
    return _HELPERS | {
        "here": "trees",
        "stories": stories,
        "first": stories[0],
        "icon": ICONS.get(stories[0]["verdict"], UNDECIDED),
        "digits": digits,
        "now": now,
        "repos": sorted({story["push"]["repo"] for story in stories}),
        "after": after,
    }


def matches_values(stories: Sequence[StoryDoc], digits: str, seconds: float, after: str) -> dict[str, Any]:
    """Return what the list of changes draws that begin with the same digits, each once."""
    found: dict[str, StoryDoc] = {}
    for story in stories:
        found.setdefault(story["node"], story)
    return _HELPERS | {
        "here": "trees",
        "matches": list(found.values())[:MATCHES_MAX],
        "more": max(0, len(found) - MATCHES_MAX),
        "digits": digits,
        "now": _now(seconds),
        "after": after,
    }


def since_push(line: HappenedDoc) -> str:
    """Return `+ 9 s`, the time since the push, or `the push`."""
    if line["after_s"] <= 0:
        return "the push" if line["mark"] == "push" else ""
    return f"+ {texts.lasting(line['after_s'])}"


def at(time: str, push_time: str) -> str:
    """Return `11:07:05`, with the date before it on another day than the push's."""
    return time[11:19] if time[:10] == push_time[:10] else f"{texts.date(time)} {time[11:19]}"


def moment(time: str) -> str:
    """Return `22 Nov 2026 10:59:21 UTC`."""
    read = datetime.fromisoformat(time).astimezone(UTC)
    return f"{read.day} {read:%b %Y %H:%M:%S} UTC"


def dated(date: str) -> str:
    """Return an author's date with its own offset: `22 Nov 2026, 11:59 +01:00`."""
    read = datetime.fromisoformat(date)
    return f"{read.day} {read:%b %Y, %H:%M} {date[19:]}"


def hg_page(story: StoryDoc, kind: str, path: str = "") -> str | None:
    """Return the address of a changeset (`rev`), or of a file of it, in the tree's hg web; None without one."""
    web = texts.link(story["tree"]["hg_web"])
    if web is None:
        return None
    node = quote(story["node"], safe="")
    return f"{web.rstrip('/')}/{kind}/{node}" + (f"/{quote(path, safe='/', errors='replace')}" if path else "")


def piece(story: StoryDoc, part: PartDoc) -> tuple[str, str | None]:
    """Return the class of a piece of a sentence, and the address that it leads to."""
    kind, ref = part["kind"], part["ref"]
    if kind == "word":
        word = _words(story).get(ref or "")
        return f"w {part['state'] or 'unknown'}", None if word is None else texts.link(word["url"])
    if kind == "bug":
        bug = _bugs(story).get(ref or "")
        return "shut" if bug is not None and bug["open"] is False else "", _bug_page(story, ref, bug)
    if kind == "tree":
        return "", texts.board_address(ref) if ref else None
    if kind == "node":
        return "mono", texts.story(ref) if ref else None
    return {"test": "mono", "strong": "strong"}.get(kind, ""), None


def bug_state(bug: StoryBugDoc) -> str:
    """Return `RESOLVED FIXED`, or "" if it is not known."""
    return " ".join(filter(None, (bug["status"], bug["resolution"])))


def bug_place(bug: StoryBugDoc) -> str:
    """Return `Core, DOM · alice`."""
    place = ", ".join(filter(None, (bug["product"], bug["component"])))
    return " · ".join(filter(None, (place, bug["assigned_to"] or ("not assigned yet" if place else ""))))


def shown_lines(text: str) -> str:
    """Return a text of several lines with what cannot be seen in it as `U+202E`."""
    return "\n".join(map(texts.shown, text.split("\n")))


def tree_sentence(story: StoryDoc, now: str) -> str:
    """Return how the tree was then and is now: `was open at 10:59, is closed now, opens again at 12:30`."""
    tree, push = story["tree"], story["push"]
    then = f"was {story['tree_then']} at {texts.when(push['time'], now)}"
    if story["tree_then"] == "not known":
        then = f"at {texts.when(push['time'], now)} its state was not known"
    return ", ".join(filter(None, (then, f"is {tree['state']} now", texts.until(tree, now))))


def _words(story: StoryDoc) -> Mapping[str, WordDoc]:
    return {word["place"]: word for line in story["push"]["lines"] for word in line["words"]}


def _bugs(story: StoryDoc) -> Mapping[str, BugDoc]:
    listed = [each["bug"] for each in (*story["bugs_named"], *story["bugs_naming"])]
    return {str(bug["id"]): bug for bug in (*listed, *story["bugs"], *story["tree"]["reason_bugs"])}


def _bug_page(story: StoryDoc, ref: str | None, bug: BugDoc | None) -> str | None:
    if bug is not None:
        return texts.link(bug["url"])
    site = texts.link(story["tree"]["bugzilla"])
    return f"{site.rstrip('/')}/show_bug.cgi?id={ref}" if site and ref and ref.isdecimal() else None


def last_time(stories: Sequence[StoryDoc]) -> float:
    """Return when the last thing of some stories happened, in seconds since 1970."""
    times = [story["push"]["time"] for story in stories]
    times += [line["time"] for story in stories for line in story["happened"]]
    return datetime.fromisoformat(max(times)).timestamp()


def _now(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


_HELPERS: dict[str, Any] = (
    texts.HELPERS
    | {
        function.__name__: function
        for function in (
            at,
            bug_place,
            bug_state,
            dated,
            hg_page,
            moment,
            piece,
            shown_lines,
            since_push,
            tree_sentence,
        )
    }
    | {"story_verdicts": VERDICTS, "marks": MARKS}
)
