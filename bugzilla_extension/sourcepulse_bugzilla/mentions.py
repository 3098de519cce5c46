# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an anonymous visitor must be able to see, so that an event may be published: the bug, and all that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_bugzilla.drainer import Visible

#: Members of a bug, and fields that change, which are numbers of bugs.
BUG_FIELDS = ("depends_on", "blocks", "dupe_of")

_ID = re.compile(r"[?&;]id=([0-9]+)")

PUBLIC = "public"
GONE = "gone"


class Needs(NamedTuple):
    """Numbers of what must be public, and of bugs that must be gone."""

    bugs: frozenset[int] = frozenset()
    comments: frozenset[int] = frozenset()
    attachments: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()

    def are_met(self, visible: Visible) -> bool:
        """Tell whether all is as it must be; KeyError if the answer does not say."""
        return (
            all(visible.bugs[str(number)] == PUBLIC for number in self.bugs)
            and all(visible.comments[str(number)] == PUBLIC for number in self.comments)
            and all(visible.attachments[str(number)] == PUBLIC for number in self.attachments)
            and all(visible.bugs[str(number)] == GONE for number in self.gone)
        )


def needs_of(type_: str, data: Mapping[str, Any], bug_fields: Sequence[str] = (), urlbase: str = "") -> Needs | None:
    """Give what an event of this type needs; None for one that cannot be judged, and so never be published.

    `bug_fields` are the custom fields of this Bugzilla that hold numbers of bugs; `urlbase` is how the URLs of its own
    bugs begin.
    """
    try:
        return _needs(type_.split(".")[1:-1], data, (*BUG_FIELDS, *bug_fields), urlbase)
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _needs(words: list[str], data: Mapping[str, Any], bug_fields: Sequence[str], urlbase: str) -> Needs | None:
    part, fact = words
    if (part, fact) == ("bug", "hidden"):
        # That a bug was hidden is told because it cannot be seen.
        return Needs()
    if (part, fact) == ("bug", "deleted"):
        return Needs(gone=_numbers(data["id"]))
    if fact == "hidden":
        return Needs(bugs=_numbers(data["bug_id"]))
    if part == "bug":
        bug = data["bug"]
        values = [bug.get(name) for name in bug_fields]
        urls = list(bug["see_also"])
        for change in data.get("changes", ()):
            if change["field_name"] in bug_fields:
                values += [change["removed"], change["added"]]
            if change["field_name"] == "see_also":
                urls += [*change["removed"], *change["added"]]
        return Needs(bugs=_numbers(bug["id"], *values).union(_own_bugs(urls, urlbase)))
    if part == "comment":
        said = data["comment"]
        return Needs(_numbers(said["bug_id"]), _numbers(said["id"]), _numbers(said["attachment_id"]))
    if part == "attachment":
        attachment = data["attachment"]
        return Needs(bugs=_numbers(attachment["bug_id"]), attachments=_numbers(attachment["id"]))
    if part == "flag":
        return Needs(bugs=_numbers(data["bug_id"]), attachments=_numbers(data["attachment_id"]))
    return None


def _numbers(*values: Any) -> frozenset[int]:
    found = set()
    for value in values:
        for number in value if isinstance(value, list | tuple) else () if value is None else (value,):
            if type(number) is not int:
                raise ValueError
            found.add(number)
    return frozenset(found)


def _own_bugs(urls: Sequence[str], urlbase: str) -> Iterator[int]:
    """Give the numbers of this Bugzilla's own bugs; other pages that begin like it are none of them."""
    page = f"{urlbase}show_bug.cgi?"
    for url in urls:
        if urlbase and url.startswith(page):
            number = _ID.search(url, len(page) - 1)
            if number is None:
                raise ValueError
            yield int(number[1])
