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
    CommentShown,
    FlagChanged,
    PartHidden,
    Person,
    RawItem,
    TruncatedItem,
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


class BugzillaFlagCleared(FlagChanged):
    """A flag was cleared."""


class BugzillaFlagDenied(FlagChanged):
    """A flag was denied."""


class BugzillaFlagGranted(FlagChanged):
    """A flag was granted."""


class BugzillaFlagRequested(FlagChanged):
    """A flag was requested."""
