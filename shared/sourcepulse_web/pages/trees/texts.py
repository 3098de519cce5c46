# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Documents of the board in words, for the templates. `static/board/texts.js` does the same in the browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from sourcepulse_web.pages.trees.picture import BAD, QUIET, picture

if TYPE_CHECKING:
    from sourcepulse_web.board.documents import (
        BugDoc,
        DescDoc,
        FailureDoc,
        LineDoc,
        PushDoc,
        RunDoc,
        TreeDoc,
        WordDoc,
    )

NODE_DIGITS = 12
#: What the view `problems` keeps, and what `new` keeps.
PROBLEMS = frozenset({"new", "known", "alone", "warnings", "exception", "retry", "cancelled"})
VERDICTS = {"new": "new here", "known": "known", "alone": "failed", "broke": "broke"}
TREE_STATES = {"closed": "closed", "approval required": "approval", "open": "open", "not known": "unknown"}
#: Codes that cannot be seen or turn the direction of a text, and halves of pairs, which cannot be encoded.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_FOLLOWED = re.compile("https?://", re.IGNORECASE)
_BUG = re.compile(r"(?<![A-Za-z0-9_])bug[ \t]+([0-9]+)(?![A-Za-z0-9_])", re.IGNORECASE)


class Part(NamedTuple):
    """A piece of a text: a link if `href` is not None. A closed bug is struck, its summary in the tooltip."""

    text: str
    href: str | None = None
    struck: bool = False
    title: str | None = None
    mono: bool = False


@lru_cache(maxsize=4096)
def shown(text: str) -> str:
    """Return a text of a source with what cannot be seen in it as `U+202E`."""
    return _UNSEEN.sub(lambda found: f"U+{ord(found[0]):04X}", text)


@lru_cache(maxsize=4096)
def link(url: str | None) -> str | None:
    """Return an address of an event if a browser may follow it: one that begins with http:// or https://."""
    return url if url and _FOLLOWED.match(url) and not _UNSEEN.search(url) else None


def board_address(repo: str) -> str:
    """Return the path of a tree's board."""
    return f"/trees/{quote(repo, safe='/', errors='replace')}"


def story(node: str) -> str:
    """Return the path of the story of a change."""
    return f"/changes/{quote(node, safe='', errors='replace')}"


def short(node: str) -> str:
    """Return the digits of a node that are shown."""
    return shown(node[:NODE_DIGITS])


@lru_cache(maxsize=4096)
def lasting(seconds: int) -> str:
    """Return a duration such as `7 min 35 s`."""
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def clock(time: str) -> str:
    """Return `11:24` of a time of the contract."""
    return time[11:16]


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(UTC)


def day(time: str) -> str:
    """Return `Sunday 22 November 2026`."""
    moment = _moment(time)
    return f"{moment:%A} {moment.day} {moment:%B} {moment.year}"


def date(time: str) -> str:
    """Return `22 Nov`."""
    moment = _moment(time)
    return f"{moment.day} {moment:%b}"


def when(time: str, now: str) -> str:
    """Return `11:24`, with the date before it if that is not the date of `now`."""
    return clock(time) if time[:10] == now[:10] else f"{date(time)} {clock(time)}"


def many(count: int, one: str, several: str = "") -> str:
    """Return `1 push`, `2 pushes`."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def line_name(line: LineDoc) -> str:
    """Return `linux64 debug`."""
    return shown(" ".join(filter(None, (line["platform"], line["buildtype"]))) or "not yet known")


def line_class(line: LineDoc) -> str:
    """Return the classes of a line: `calm` without problems, `old` with nothing new."""
    states = {word["state"] for word in line["words"]}
    return "l" + ("" if states & PROBLEMS else " calm") + ("" if "new" in states else " old")


def spoken(word: WordDoc) -> str:
    """Return `linux64-debug-unit: failed, new here, 7 min 35 s`."""
    took = "" if word["duration_s"] is None else f", {lasting(word['duration_s'])}"
    tier = f", tier {word['tier']}" if word["tier"] > 1 else ""
    return f"{shown(word['place'])}: {shown(word['said'])}{tier}{took}"


def detail(word: WordDoc) -> str:
    """Return `failed tests (1 of 2,114) · 7 min 35 s on w12 · waited 12 s`."""
    time = [] if word["duration_s"] is None else [lasting(word["duration_s"])]
    if word["worker"]:
        time.append(f"on {shown(word['worker'])}")
    parts = [shown(word["state_string"] or ""), " ".join(time)]
    if word["waited_s"] is not None:
        parts.append(f"waited {lasting(word['waited_s'])}")
    return " · ".join(filter(None, parts))


def others(word: WordDoc) -> str:
    """Return the other builds of a word: `#56 starts again, #55 broke`."""
    runs: list[RunDoc] = word["others"]
    return ", ".join(f"#{run['number']} {shown(run['said'])}" for run in runs)


def bug_link(bug: BugDoc, text: str) -> Part:
    """Return a bug as a link where its address is known."""
    summary = None if bug["summary"] is None else shown(bug["summary"])
    return Part(text, link(bug["url"]), struck=bug["open"] is False, title=summary)


def linked(text: str, bugs: list[BugDoc], backs_out: list[str]) -> Iterator[Part]:
    """Yield a description in parts, its bugs and the nodes that it backs out as links."""
    known = {bug["id"]: bug for bug in bugs}
    text = shown(text)
    nodes = "|".join(re.escape(node) for node in sorted(backs_out, key=len, reverse=True) if node)
    pattern = re.compile(f"{_BUG.pattern}|({nodes})" if nodes else f"{_BUG.pattern}|(?!)()", re.IGNORECASE)
    end = 0
    for found in pattern.finditer(text):
        bug = known.get(int(found[1])) if found[1] and len(found[1]) < 16 else None
        if not found[2] and bug is None:
            continue
        if found.start() > end:
            yield Part(text[end : found.start()])
        yield Part(found[0], story(found[0]), mono=True) if bug is None else bug_link(bug, found[0])
        end = found.end()
    if end < len(text):
        yield Part(text[end:])


def description(desc: DescDoc) -> Iterator[Part]:
    """Yield the first line of a changeset in parts."""
    return linked(desc["text"], desc["bugs"], desc["backs_out"])


def reason(tree: TreeDoc) -> Iterator[Part]:
    """Yield the reason of a tree's state in parts."""
    return linked(tree["reason"] or "no reason was published", tree["reason_bugs"], [])


def test_name(failure: FailureDoc) -> tuple[str, str]:
    """Return the folders of a failed test, which may shrink, and the rest, which may not."""
    text = shown(failure["test"]) + ("" if failure["line"] is None else f":{failure['line']}")
    cut = text.rfind("/")
    return (text[:cut], text[cut:]) if cut > 0 else ("", text)


def push_label(push: PushDoc) -> str:
    """Return what a screen reader calls a push."""
    who = "withdrawn" if push["withdrawn"] else shown(push["user"] or "somebody")
    return ", ".join(filter(None, (who, clock(push["time"]), short(push["node"]))))


def until(tree: TreeDoc, now: str) -> str:
    """Return when a tree is to open, or that it has not been opened."""
    if tree["until"] is None:
        return ""
    time = when(tree["until"], now)
    return f"was to open at {time}, has not been opened" if tree["overdue"] else f"opens again at {time}"


def banner_note(tree: TreeDoc, now: str) -> str:
    """Return `by bob at 11:26 · opens again at 12:30 · 2 pushes refused`."""
    parts = []
    if tree["by"]:
        parts.append(f"by {shown(tree['by'])}")
    if tree["since"]:
        parts.append(("at " if tree["since"][:10] == now[:10] else "on ") + when(tree["since"], now))
    refused = f"{many(tree['refused'], 'push', 'pushes')} refused" if tree["refused"] else ""
    return " · ".join(filter(None, (" ".join(parts), until(tree, now), refused)))


def still(push: PushDoc) -> str:
    """Return `3 running, 37 waiting`."""
    return ", ".join(each["text"] for each in push["summary"] if each["state"] in ("running", "waiting"))


def where(failure: FailureDoc) -> str:
    """Return where a test failed, without `on`."""
    return shown(failure["where"].removeprefix("on "))


def tree_note(tree: TreeDoc, now: str) -> str:
    """Return what is below a tree's state in the list of trees."""
    if tree["state"] == "not known":
        return "no event of its state"
    if tree["state"] == "open":
        return ""
    if tree["state"] == "approval required" and tree["reason"]:
        return shown(tree["reason"])
    since = f"since {when(tree['since'], now)}" if tree["since"] else ""
    return ", ".join(filter(None, (since, until(tree, now)))) or shown(tree["reason"] or "")


def tree_builds(tree: TreeDoc) -> str:
    """Return what the list says of a tree of which nothing fails."""
    if tree["last_build_at"] is None and not tree["running"] + tree["waiting"]:
        return "no results yet"
    known = "no results yet" if tree["last_build_at"] is None else "nothing fails"
    return known + (f", {tree['running']} running" if tree["running"] else "")


def new_failures(tree: TreeDoc) -> int:
    """Return how many of the failures of now are new."""
    return sum(failure["verdict"] == "new" for failure in tree["failing"])


def title(tree: TreeDoc) -> str:
    """Return the title of a tree's page, which says how the tree is."""
    count, name = new_failures(tree), shown(tree["name"])
    closed = "■ closed · " if tree["state"] == "closed" else ""
    more = "+" if tree["more_failing"] else ""
    return f"✖ {count}{more} new · {closed}{name}" if count else f"{closed}{name}"


def icon(tree: TreeDoc) -> str:
    """Return the picture of the tab: a square if the tree is closed, red with the number of new failures."""
    count, closed = new_failures(tree), tree["state"] == "closed"
    return picture(BAD if count or closed else QUIET, str(min(count, 99) or ""), square=closed)


_DRAWN = (
    "banner_note bug_link board_address clock date day description detail icon lasting line_class line_name link "
    "linked many others push_label reason short shown spoken still story test_name title tree_builds "
    "tree_note until when where"
)
#: Passed to the templates beside the documents.
HELPERS: dict[str, Any] = {name: globals()[name] for name in _DRAWN.split()} | {
    "verdicts": VERDICTS,
    "verdict_states": {"new": "new", "known": "known", "alone": "alone", "broke": "exception"},
    "tree_states": TREE_STATES,
}
