# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The data of the bugzilla events; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

from typing import TypedDict

from sourcepulse.typed.common import (
    Attachment,
    AttachmentChanged,
    Bug,
    BugChanged,
    Change,
    CommentShown,
    Component,
    FlagChanged,
    Keyword,
    Milestone,
    PartHidden,
    Person,
    Product,
    RawItem,
    TruncatedItem,
    Version,
)


class BugzillaAttachmentChanged(AttachmentChanged):
    """An attachment changed."""


class BugzillaAttachmentCreated(TypedDict):
    """A file was attached."""

    change_set: str | None
    who: Person
    attachment: Attachment
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaAttachmentDeleted(TypedDict):
    """The content of an attachment was removed."""

    change_set: str | None
    who: Person | None
    attachment: Attachment
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaAttachmentHidden(PartHidden):
    """An attachment left the public."""


class BugzillaAttachmentObsoleted(AttachmentChanged):
    """An attachment became obsolete."""


class BugzillaAttachmentPublished(TypedDict):
    """An attachment became public."""

    change_set: str | None
    attachment: Attachment
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaBugAssigned(BugChanged):
    """A bug was assigned."""


class BugzillaBugChanged(BugChanged):
    """A bug changed."""


class BugzillaBugClosed(BugChanged):
    """A bug was closed."""


class BugzillaBugCreated(TypedDict):
    """A bug was filed."""

    change_set: str | None
    who: Person
    bug: Bug
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaBugDeleted(TypedDict):
    """A bug was deleted."""

    id: int


class BugzillaBugDuplicated(BugChanged):
    """A bug was marked as a duplicate."""


class BugzillaBugHidden(TypedDict):
    """A bug left the public."""

    id: int


class BugzillaBugMoved(BugChanged):
    """A bug moved."""


class BugzillaBugPublished(TypedDict):
    """A bug became public."""

    change_set: str | None
    bug: Bug
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaBugReopened(BugChanged):
    """A bug was reopened."""


class BugzillaCommentCreated(CommentShown):
    """A comment was made."""


class BugzillaCommentHidden(PartHidden):
    """A comment left the public."""


class BugzillaCommentPublished(CommentShown):
    """A comment became public."""


class BugzillaComponentChanged(TypedDict):
    """A component changed."""

    change_set: str | None
    component: Component
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaComponentCreated(TypedDict):
    """A component was created."""

    change_set: str | None
    component: Component
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaComponentDeleted(TypedDict):
    """A component was deleted."""

    change_set: str | None
    component: Component
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaFlagCleared(FlagChanged):
    """A flag was cleared."""


class BugzillaFlagDenied(FlagChanged):
    """A flag was denied."""


class BugzillaFlagGranted(FlagChanged):
    """A flag was granted."""


class BugzillaFlagRequested(FlagChanged):
    """A flag was requested."""


class BugzillaKeywordChanged(TypedDict):
    """A keyword changed."""

    change_set: str | None
    keyword: Keyword
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaKeywordCreated(TypedDict):
    """A keyword was created."""

    change_set: str | None
    keyword: Keyword
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaKeywordDeleted(TypedDict):
    """A keyword was deleted."""

    change_set: str | None
    keyword: Keyword
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaMilestoneChanged(TypedDict):
    """A milestone changed."""

    change_set: str | None
    milestone: Milestone
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaMilestoneCreated(TypedDict):
    """A milestone was created."""

    change_set: str | None
    milestone: Milestone
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaMilestoneDeleted(TypedDict):
    """A milestone was deleted."""

    change_set: str | None
    milestone: Milestone
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaProductChanged(TypedDict):
    """A product changed."""

    change_set: str | None
    product: Product
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaProductCreated(TypedDict):
    """A product was created."""

    change_set: str | None
    product: Product
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaProductDeleted(TypedDict):
    """A product was deleted."""

    change_set: str | None
    product: Product
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaVersionChanged(TypedDict):
    """A version changed."""

    change_set: str | None
    version: Version
    changes: list[Change]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaVersionCreated(TypedDict):
    """A version was created."""

    change_set: str | None
    version: Version
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BugzillaVersionDeleted(TypedDict):
    """A version was deleted."""

    change_set: str | None
    version: Version
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]
