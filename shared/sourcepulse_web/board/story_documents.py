# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The document of `/changes/<node>`."""

from __future__ import annotations

from typing import Literal, TypedDict

from sourcepulse_web.board.documents import BugDoc, FailureDoc, PushDoc, PushRef, TreeDoc, TreeState, WordState

#: `not good`: something fails that is new here; `good so far`: no such thing, but some builds have no result (yet);
#: `not yet known`: no build has a result, or one broke or failed with nothing to compare with.
StoryVerdict = Literal["good", "good so far", "not good", "not yet known"]


class StoryBugDoc(TypedDict):
    """A bug of a story; nulls are not known."""

    bug: BugDoc
    status: str | None
    resolution: str | None
    product: str | None
    component: str | None
    assigned_to: str | None


class PartDoc(TypedDict):
    """A piece of a sentence. `ref` is what a link leads to: a node, a repository, a bug's number, a builder's name.

    kind `word`: drawn as a build's word in `state`; `test`: a path; `strong`: a name.
    """

    kind: Literal["plain", "strong", "tree", "bug", "node", "test", "word"]
    text: str
    ref: str | None
    state: WordState | None


class HappenedDoc(TypedDict):
    """One line of what happened. `mark`: the symbol, a word's state or one of push, bug, closed, opened, stripped."""

    time: str
    after_s: int
    mark: str
    parts: list[PartDoc]


class ParentDoc(TypedDict):
    """A changeset of the same push, or a parent."""

    node: str
    text: str | None
    author: str | None
    bugs: list[BugDoc]


class AlsoDoc(TypedDict):
    """Another tree that has this node."""

    push: PushRef
    name: str
    passed: int
    of: int


class StoryDoc(TypedDict):
    """What became of one changeset on one tree, for /changes/<node>.

    `node` is the changeset asked for, `push` the push that brought it: its `lines` are the builds. `failures`: what
    failed, with up to 200 tests of each build; `more_failures` counts the others. `title` is the first line of
    `text`. The members up to `extra_files` are null or empty if the push's event lists no details of this changeset
    (`listed` is false). `date` is the author's own claim, with its offset (`2026-11-22T11:59:00+01:00`). `said`
    explains `verdict`, `ended` says how far the builds are.
    """

    node: str
    listed: bool
    title: str
    text: str
    bugs: list[BugDoc]
    author: str | None
    date: str | None
    branch: str | None
    phase: str | None
    parents: list[str]
    files: list[str]
    extra_files: int
    push: PushDoc
    tree: TreeDoc
    tree_then: TreeState
    verdict: StoryVerdict
    said: str
    ended: str
    before: PushRef | None
    after: PushRef | None
    before_passed: int
    before_of: int
    failures: list[FailureDoc]
    more_failures: int
    happened: list[HappenedDoc]
    same_push: list[ParentDoc]
    same_push_more: int
    bugs_named: list[StoryBugDoc]
    bugs_naming: list[StoryBugDoc]
    also_in: list[AlsoDoc]
