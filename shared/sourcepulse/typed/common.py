# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the data of several events has in common; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

from typing import Any, TypedDict


class Attachment(TypedDict):
    id: int
    bug_id: int
    file_name: str
    summary: str
    content_type: str
    size: int
    is_patch: bool
    is_obsolete: bool
    is_private: bool
    creator: Person
    creation_time: str
    last_change_time: str
    flags: list[Flag]


class AttachmentChanged(TypedDict):
    change_set: str | None
    who: Person | None
    attachment: Attachment
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Bookmark(TypedDict):
    bookmark: str
    node: str | None
    oldnode: str | None


class Bug(TypedDict):
    id: int
    alias: list[str]
    summary: str
    classification: str
    product: str
    product_id: int
    component: str
    component_id: int
    version: str
    op_sys: str
    platform: str
    priority: str
    severity: str
    target_milestone: str
    status: str
    resolution: str
    is_open: bool
    dupe_of: int | None
    assigned_to: Person
    qa_contact: Person | None
    creator: Person
    cc: list[Person]
    keywords: list[str]
    whiteboard: str
    url: str
    depends_on: list[int]
    blocks: list[int]
    see_also: list[str]
    flags: list[Flag]
    groups: list[str]
    creation_time: str
    last_change_time: str


class BugChanged(TypedDict):
    change_set: str | None
    who: Person | None
    bug: Bug
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Change(TypedDict):
    field_name: str
    removed: str | float | bool | Person | list[str | float | Person] | None
    added: str | float | bool | Person | list[str | float | Person] | None


class Changeset(TypedDict):
    node: str
    parents: list[str]
    author: str
    date: list[int]
    branch: str
    desc: str
    phase: str
    files: list[str] | None
    added: list[str] | None
    modified: list[str] | None
    removed: list[str] | None
    copies: list[Copy] | None
    extras: dict[str, Any]


class Comment(TypedDict):
    id: int
    bug_id: int
    attachment_id: int | None
    count: int
    type: str
    dupe_bug_id: int | None
    text: str
    creator: Person
    creation_time: str
    is_private: bool


class CommentShown(TypedDict):
    change_set: str | None
    comment: Comment
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Component(TypedDict):
    id: int
    name: str
    product: str
    product_id: int
    is_active: bool


class Copy(TypedDict):
    file: str
    source: str


class Flag(TypedDict):
    name: str
    type_id: int | None
    status: str
    setter: Person | None
    requestee: Person | None


class FlagChanged(TypedDict):
    change_set: str | None
    who: Person | None
    bug_id: int
    attachment_id: int | None
    flag: Flag
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Head(TypedDict):
    node: str
    branch: str


class HgBookmarks(TypedDict):
    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    bookmarks: list[Bookmark]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgHeads(TypedDict):
    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    heads: list[Head]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgTags(TypedDict):
    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    tags: list[Tag]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class HgTree(TypedDict):
    repo: str
    repo_url: str | None
    user: str | None
    source: str | None
    url: str | None
    change_set: str | None
    state: str
    oldstate: str | None
    reason: str | None
    until: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Keyword(TypedDict):
    id: int
    name: str
    is_active: bool


class Link(TypedDict):
    name: str
    url: str


class Marker(TypedDict):
    prednode: str
    succnodes: list[str]
    date: list[int]
    user: str | None
    operation: str | None


class Master(TypedDict):
    masterid: int
    name: str
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class Milestone(TypedDict):
    id: int
    name: str
    product: str
    product_id: int
    is_active: bool


class Normalized(TypedDict):
    tree: str
    product: str
    platform: str
    buildtype: str
    revision: str


class PartHidden(TypedDict):
    id: int
    bug_id: int


class Person(TypedDict):
    id: int
    name: str | None


class PhaseChange(TypedDict):
    node: str
    oldphase: str
    phase: str


class Product(TypedDict):
    id: int
    name: str
    classification: str
    is_active: bool


class PushHead(TypedDict):
    node: str
    branch: str
    closed: bool


class RawItem(TypedDict):
    field: str
    base64: str


class SourcestampsItem(TypedDict):
    codebase: str
    repository: str
    project: str
    branch: str | None
    revision: str | None


class SourceState(TypedDict):
    source: str
    sequence: str | None


class Tag(TypedDict):
    tag: str
    node: str | None
    oldnode: str | None
    changeset: str


class TestCase(TypedDict):
    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    stepid: int
    step_name: str
    revision: str | None
    test_result_setid: int
    description: str
    test_resultid: int
    testid: str
    test_name: str | None
    test_code_path: str | None
    line: int | None
    duration_ns: int | None
    value: str
    message: str | None
    outcome: str
    attempts: int
    flaky: bool
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class TruncatedItem(TypedDict):
    field: str
    kept: int
    total: int


class Version(TypedDict):
    id: int
    name: str
    product: str
    product_id: int
    is_active: bool


class BuildchangesItem(TypedDict):
    changeid: int
    revision: str | None


class Worker(TypedDict):
    workerid: int
    name: str
    masterid: int
    pause_reason: str | None
    last_connection: str | None
    max_builds: int | None
    paused: bool
    graceful: bool
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]
