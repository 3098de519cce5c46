# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a reader asks for in the URL, and what the templates get for it. Nothing here reads or waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from sourcepulse_web.pages.trees import texts
from sourcepulse_web.pages.trees.picture import BAD, QUIET, picture

if TYPE_CHECKING:
    from sourcepulse_web.board.documents import BoardDoc, FailureDoc, PushDoc, TreeDoc, WordDoc

VIEWS = {"everything": "everything", "problems": "problems", "new": "new here"}
THEMES = ("light", "dark")
#: Of the first answer; `Older pushes` adds as many, until a page has the most.
PAGE_PUSHES = 50
PAGE_PUSHES_MAX = 200
WALL_PUSHES = 25
WALL_WORDS_MAX = 6
#: Of which a list of trees, or a wall, hears by itself; the URL of a stream must not grow without limit.
TREES_HEARD_MAX = 50
FILTER_CHARACTERS_MAX = 200
POSITION_MAX = 2**63 - 1
_FIRST = {"closed": 0, "approval required": 1}


class BadQueryError(ValueError):
    """A query that means nothing; the sentence says what it may be."""


class Wanted(NamedTuple):
    """The query of a board's URL. `show` is "" where the screen chooses."""

    show: str = ""
    q: str = ""
    before: int | None = None
    limit: int = PAGE_PUSHES
    wall: bool = False
    theme: str = ""
    json: bool = False

    def query(self, **other: Any) -> str:
        """Return the query of the same page with something else in it, as a link has it: `?show=new`."""
        values = {"show": self.show, "q": self.q, "before": self.before, "theme": self.theme} | other
        text = urlencode([(key, value) for key, value in values.items() if value not in ("", None)], quote_via=quote)
        return f"?{text}" if text else "?"


def wanted(arguments: Mapping[bytes, Sequence[bytes]]) -> Wanted:
    """Read the arguments of a request; BadQueryError names what to correct."""

    def one(name: str) -> str:
        values = arguments.get(name.encode()) or [b""]
        return values[-1].decode("utf-8", "replace").strip()

    def whole(name: str, least: int, most: int) -> int | None:
        text = one(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise BadQueryError(f"{name}= must be a whole number from {least} to {most}")
        return int(text)

    show, theme = one("show"), one("theme")
    if show and show not in VIEWS:
        raise BadQueryError(f"show= must be one of {', '.join(VIEWS)}")
    if theme and theme not in THEMES:
        raise BadQueryError("theme= must be light or dark")
    query = one("q")[:FILTER_CHARACTERS_MAX]
    limit = whole("limit", 1, PAGE_PUSHES_MAX)
    return Wanted(
        show=show,
        q=query,
        before=whole("before", 0, POSITION_MAX),
        limit=limit or (PAGE_PUSHES_MAX if query else PAGE_PUSHES),
        wall=one("wall") == "1",
        theme=theme,
        json=one("format") == "json",
    )


def sought(push: PushDoc) -> str:
    """Return all that a filter finds in a push, in lower case; a script has it from what is drawn."""
    found = [push["sought"], texts.shown(push["user"] or ""), push["node"]]
    found += (texts.shown(desc["text"]) for desc in push["descs"])
    found += (texts.spoken(word) for line in push["lines"] for word in line["words"])
    for failure in push["failures"]:
        found += [
            "".join(texts.test_name(failure)),
            texts.shown(failure["where"]),
            texts.shown(failure["message"] or ""),
        ]
        found += [f"bug {failure['bug']['id']}" if failure["bug"] else "", texts.shown(failure["note"])]
    return "\n".join(found).lower()


def matching(pushes: Sequence[PushDoc], q: str) -> list[PushDoc]:
    """Return the pushes in which the words of a filter stand one after the other, whatever their case."""
    needle = " ".join(q.lower().split())
    return [push for push in pushes if needle in sought(push)] if needle else list(pushes)


def problems(pushes: Sequence[PushDoc], show: str) -> int:
    """Return how many pushes have a word that a view keeps."""
    kept = {"new"} if show == "new" else texts.PROBLEMS
    return sum(any(word["state"] in kept for line in push["lines"] for word in line["words"]) for push in pushes)


def board_values(document: BoardDoc, wanted: Wanted, seconds: float) -> dict[str, Any]:
    """Return what the template of a board draws."""
    pushes = matching(document["pushes"], wanted.q)
    looked_at = document["pushes"][-1]["time"] if document["pushes"] else document["since"]
    empty = ""
    if not document["pushes"]:
        empty = "pushes"
    elif not pushes:
        empty = "matches"
    elif wanted.show in ("problems", "new") and not problems(pushes, wanted.show):
        empty = wanted.show
    return _common(wanted, seconds) | {
        "tree": document["tree"],
        "board": document,
        "pushes": pushes,
        "empty": empty,
        "looked_at": looked_at,
        "repo": document["tree"]["repo"],
        "views": [(name, text, wanted.query(show=name)) for name, text in VIEWS.items()],
    }


def wall_values(document: BoardDoc, trees: Sequence[TreeDoc], wanted: Wanted, seconds: float) -> dict[str, Any]:
    """Return what the template of a wall draws."""
    tree = document["tree"]
    return _common(wanted, seconds) | {
        "tree": tree,
        "board": document,
        "pushes": [(push, *wall_words(push)) for push in document["pushes"]],
        "others": [each for each in sorted_trees(trees) if each["repo"] != tree["repo"]],
        "since": [failing_since(failure, seconds) for failure in tree["failing"]],
        "repos": [tree["repo"], *(each["repo"] for each in trees if each["repo"] != tree["repo"])][:TREES_HEARD_MAX],
    }


def wall_words(push: PushDoc) -> tuple[list[tuple[str, WordDoc]], int]:
    """Return the words of a push on a wall, each with its line's name, and how many there is no room for."""
    words = [(texts.line_name(line), word) for line in push["lines"] for word in line["words"]]
    kept = [each for each in words if each[1]["state"] == "new" and each[1]["tier"] == 1] or [
        each for each in words if each[1]["state"] in ("new", "known", "alone", "exception")
    ]
    kept.sort(key=lambda each: each[1]["tier"] > 1)
    return kept[:WALL_WORDS_MAX], max(0, len(kept) - WALL_WORDS_MAX)


def failing_since(failure: FailureDoc, seconds: float) -> str:
    """Return `alice 1f0c5a2be9d0, 24 min`."""
    since = failure["since"]
    if since is None:
        return ""
    minutes = max(0, int(seconds - datetime.fromisoformat(since["time"]).timestamp())) // 60
    lasts = texts.lasting(minutes * 60) if minutes else "under 1 min"
    return f"{texts.shown(since['user'] or 'somebody')} {texts.short(since['node'])}, {lasts}"


def sorted_trees(trees: Sequence[TreeDoc]) -> list[TreeDoc]:
    """Return closed trees first, then those with approval, then by new failures, then by name."""
    return sorted(trees, key=lambda tree: (_FIRST.get(tree["state"], 2), -texts.new_failures(tree), tree["name"]))


def trees_values(trees: Sequence[TreeDoc], wanted: Wanted, seconds: float) -> dict[str, Any]:
    """Return what the template of the list of trees draws."""
    needle = wanted.q.lower()
    found = [tree for tree in sorted_trees(trees) if needle in f"{tree['name']} {tree['repo']} {tree['state']}".lower()]
    states = [tree["state"] for tree in trees]
    words = {"closed": "closed", "approval required": "with approval", "open": "open", "not known": "not known"}
    counts = ", ".join(f"{states.count(state)} {word}" for state, word in words.items() if state in states)
    # Those that are looked for come first; the others are drawn too, for another filter without another load.
    others = [tree["repo"] for tree in trees if tree not in found]
    repos = [*(tree["repo"] for tree in found), *others][:TREES_HEARD_MAX]
    new = sum(map(texts.new_failures, trees))
    return _common(wanted, seconds) | {
        "trees": sorted_trees(trees),
        "counts": counts,
        "found": {tree["repo"] for tree in found},
        "repos": repos,
        "new": new,
        "closed": states.count("closed"),
        "icon": picture(BAD if new else QUIET, str(min(new, 99) or "")),
    }


def _common(wanted: Wanted, seconds: float) -> dict[str, Any]:
    now = datetime.fromtimestamp(seconds, UTC)
    return texts.HELPERS | {
        "here": "trees",
        "theme": wanted.theme,
        "wanted": wanted,
        "now": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "as_of": f"{now:%H:%M:%S}",
    }
