# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What pages draw, as JSON has it: a template and a script get the same document and need not think.

Times are the contract's strings (RFC 3339, UTC, six decimals), a push's `id` is the position of its event in the log,
nodes are whole. Every member is always there.
"""

from __future__ import annotations

from typing import Literal, TypedDict

TreeState = Literal["open", "closed", "approval required", "not known"]
Verdict = Literal["new", "known", "alone", "broke"]
#: `alone`: failed, and there is nothing to compare with. `none`: the place is kept, and no request was seen.
WordState = Literal[
    "passed",
    "new",
    "known",
    "alone",
    "warnings",
    "exception",
    "retry",
    "running",
    "waiting",
    "cancelled",
    "skipped",
    "unknown",
    "none",
]


class BugDoc(TypedDict):
    """A bug that is named somewhere. `open` and `summary` are null if no event within the log says it."""

    id: int
    url: str | None
    open: bool | None
    summary: str | None


class PushRef(TypedDict):
    """One push, where it is named beside another: `node` is its last changeset."""

    id: int
    repo: str
    node: str
    user: str | None
    time: str


class DescDoc(TypedDict):
    """A changeset of a push and the first line of its description. `backs_out`: nodes that it backs out, as written."""

    node: str
    author: str
    text: str
    bugs: list[BugDoc]
    backs_out: list[str]


class SummaryDoc(TypedDict):
    """How many words of a push are in a state: `3 new`, `32 of 40`."""

    state: WordState
    text: str


class RunDoc(TypedDict):
    """An earlier build of a builder: on the same push, or on pushes before."""

    number: int
    state: WordState
    said: str
    outcome: str | None
    url: str | None
    started_at: str | None
    duration_s: int | None
    push: int | None


class WordDoc(TypedDict):
    """What became of one builder on one push. `place` is the builder's name, the same on every push of a tree.

    `said` is the state in words (`failed, new here`), without label and duration. `waited_s`: from request to start.
    `others`: the other builds of this builder on this push, newest first.
    """

    place: str
    label: str
    state: WordState
    said: str
    number: int | None
    url: str | None
    duration_s: int | None
    waited_s: int | None
    started_at: str | None
    complete_at: str | None
    worker: str | None
    state_string: str | None
    outcome: str | None
    build: int | None
    tier: int
    others: list[RunDoc]


class LineDoc(TypedDict):
    """The words of one platform and build type; both are "" for builders of which neither is known."""

    platform: str
    buildtype: str
    words: list[WordDoc]


class FailureDoc(TypedDict):
    """A failed test, or a build that failed without one, with all places where it failed on this push.

    `said` is the verdict in words (`new here or in the 2 pushes before`), `test` what failed (path or name, without the
    line; of a build without a failed test `linux64-debug-memory #57`), `where` in words (`on linux64 debug: ui-2`),
    `note` what stands at the right edge (`6 of the last 20 pushes`), `link` the page of the first such build, `since`
    the oldest push of the unbroken row of pushes on which it failed. `is_test` is false for a build without a test.
    `tier`: the lowest tier of its builders; above 1 it is listed after the others and makes nothing "not good".
    """

    verdict: Verdict
    said: str
    test: str
    is_test: bool
    tier: int
    line: int | None
    where: str
    places: list[str]
    message: str | None
    bug: BugDoc | None
    note: str
    link: str | None
    since: PushRef | None


class BackedOutDoc(TypedDict):
    """Which push backed out a changeset of this one: `node` is the changeset that says so."""

    push: int
    node: str
    user: str | None
    time: str


class PushDoc(TypedDict):
    """One push of a tree. `changed` is the position of the last event that changed this document.

    `descs`: at most three, newest first. `more`: `and 2 more changes`, or null. A withdrawn push has no text at all.
    `is_new`: something of tier 1 failed that is new here. `more_failures`: those that are not listed. `sought`: further
    text that a filter finds (authors, files, nodes), in lower case and cut to 1,000 characters; what is drawn is
    not repeated in it.
    """

    id: int
    changed: int
    repo: str
    time: str
    user: str | None
    node: str
    count: int
    descs: list[DescDoc]
    more: str | None
    backed_out: BackedOutDoc | None
    stripped_at: str | None
    withdrawn: bool
    summary: list[SummaryDoc]
    passed: int
    of: int
    lines: list[LineDoc]
    failures: list[FailureDoc]
    more_failures: int
    is_new: bool
    sought: str


class NewestDoc(TypedDict):
    """The newest push of a tree, for a row of the list of trees."""

    id: int
    node: str
    user: str | None
    time: str
    text: str
    bugs: list[BugDoc]


class TreeDoc(TypedDict):
    """A tree. `since`, `by`, `reason`, `until` belong to its state; `overdue`: `until` is past, and it was not opened.

    `refused`: at least so many pushes were refused since. `failing`: what failed in the newest ended build of each
    builder of tier 1 that has a result, new ones first; `more_failing`: those that are not listed. `last_build_at`
    is when one of those ended, null if there is none.
    """

    name: str
    repo: str
    state: TreeState
    since: str | None
    by: str | None
    reason: str | None
    reason_bugs: list[BugDoc]
    until: str | None
    overdue: bool
    refused: int
    failing: list[FailureDoc]
    more_failing: int
    running: int
    waiting: int
    last_build_at: str | None
    newest: NewestDoc | None
    hg_web: str | None
    bugzilla: str | None


class PlaceDoc(TypedDict):
    """One builder's place."""

    place: str
    label: str
    tier: int


class PlaceLineDoc(TypedDict):
    """The places of one line in their order, so that a page can add a place that came while it was open."""

    platform: str
    buildtype: str
    places: list[PlaceDoc]


class BoardDoc(TypedDict):
    """A page of a tree's pushes, newest first.

    `since`: time of the oldest event that the log has. `total`: pushes kept. `older`: the `before` of the next page.
    `position`: every event up to it is in here.
    """

    tree: TreeDoc
    places: list[PlaceLineDoc]
    pushes: list[PushDoc]
    since: str | None
    total: int
    older: int | None
    position: int


class BoardUpdate(TypedDict):
    """What changed: the tree, and each push that a position in (after, until] changed, newest first, whole.

    `gone`: ids of pushes that the log no longer has.
    """

    tree: TreeDoc
    places: list[PlaceLineDoc]
    pushes: list[PushDoc]
    gone: list[int]
    position: int


class Seen(TypedDict):
    """What a sentence of the live page needs of the board; null is not known, or the event is not of that kind.

    `verdict`: `failed, new here` of a build, `known` of a failed test; `note`: `6 of the last 20 pushes`.
    """

    label: str | None
    platform: str | None
    tree: str | None
    repo: str | None
    state: WordState | None
    verdict: str | None
    note: str | None
    duration_s: int | None
    push: int | None
    node: str | None
    user: str | None
    bug: BugDoc | None


#: What is known of an event of which the board knows nothing.
NOTHING_SEEN = Seen(
    label=None,
    platform=None,
    tree=None,
    repo=None,
    state=None,
    verdict=None,
    note=None,
    duration_s=None,
    push=None,
    node=None,
    user=None,
    bug=None,
)
