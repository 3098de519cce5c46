# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What one stream may contain of a row; the public view is checked once more for what is marked as private.

Our own extension writes the views, and its tests hold their members, so nothing else is checked here. A view that is
damaged raises an ordinary exception where events are made of it, and its row is buried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sourcepulse.events.event import PUBLIC
from sourcepulse_bugzilla.errors import RowError

BUG_CREATE = "bug.create"
BUG_UPDATE = "bug.update"
BUG_DELETE = "bug.delete"
ATTACHMENT_CREATE = "attachment.create"
ATTACHMENT_UPDATE = "attachment.update"
ATTACHMENT_DELETE = "attachment.delete"
#: Things that bugs are filed under; a kind of row is `<thing>.<action>`.
THINGS = frozenset({"product", "component", "version", "milestone", "keyword"})
THING_CREATE = "create"
THING_UPDATE = "update"
THING_DELETE = "delete"

HIDDEN = "hidden"
PUBLISHED = "published"

#: The members of a view by name.
View = Mapping[str, Any]


def seconds_of(time: str) -> int:
    """Return the whole seconds since 1970 of a time as events have it."""
    return int(datetime.fromisoformat(time).timestamp())


def check_view(kind: str, stream: str, view: Any) -> View:
    """Return the view of a stream; RowError if it does not decide what becomes visible, or if it must not be public.

    A public view is refused unless all of its parts are marked as public.
    """
    if not isinstance(view, dict):
        raise RowError(f"its {stream} view is not a JSON object")
    if kind in (BUG_UPDATE, ATTACHMENT_UPDATE) and view.get("transition", "") not in (None, HIDDEN, PUBLISHED):
        raise RowError(f"its {stream} view does not say whether something was hidden or published")
    if stream == PUBLIC and not all(_marks_of(view)):
        raise RowError("its public view holds what is marked as private")
    return view


def _marks_of(view: View) -> Iterator[bool]:
    """Yield for each part of a view whether it is marked as public; a part without a valid mark is private."""
    if "bug" in view:
        yield view["bug"].get("groups") == []
    if "attachment" in view:
        yield view["attachment"].get("is_private") is False
    for name in ("comments", "comments_published"):
        for comment in view.get(name, ()):
            yield comment.get("is_private") is False
