# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sentences for what was done in Bugzilla."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse_web.board.documents import Seen
from sourcepulse_web.pages.live.sentences.parts import Links, Part, bug, first_line, person, plain, prose, shown, value

#: More changes of one update are counted only.
CHANGES_MAX = 4
_THINGS = ("product", "component", "version", "milestone", "keyword")
_FLAG = {"requested": "asked {} for", "granted": "granted", "denied": "denied", "cleared": "cleared"}


def _changes(changes: list[Mapping[str, Any]]) -> str:
    """Return fields before and after: `status ASSIGNED to RESOLVED, cc + alice`."""
    said = [_change(each) for each in changes[:CHANGES_MAX]]
    if len(changes) > CHANGES_MAX:
        said.append(f"and {len(changes) - CHANGES_MAX} more fields")
    return ", ".join(said)


def _change(change: Mapping[str, Any]) -> str:
    field, before, after = shown(change["field_name"]), change["removed"], change["added"]
    if isinstance(before, list) or isinstance(after, list):
        moves = [f"- {value(each)}" for each in before or ()] + [f"+ {value(each)}" for each in after or ()]
        return f"{field} {' '.join(moves)}"
    if before in (None, ""):
        return f"{field} to {value(after)}"
    return f"{field} {value(before)} removed" if after in (None, "") else f"{field} {value(before)} to {value(after)}"


def _about(data: Mapping[str, Any], did: str, links: Links, after: list[Part]) -> list[Part]:
    return [person(data.get("who")), plain(f" {did} "), bug(data["bug"]["id"], links), *after]


def _summary(data: Mapping[str, Any], links: Links) -> list[Part]:
    return [plain(": "), *prose(data["bug"]["summary"], links)]


def _place(data: Mapping[str, Any]) -> str:
    return shown(f"{data['bug']['product']}, {data['bug']['component']}")


def created(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Bob made bug 1305 parse.t crashes with signal 11, Core, DOM."""
    summary = prose(data["bug"]["summary"], links)
    return _about(data, "made", links, [plain(" "), *summary, Part("text", f", {_place(data)}")])


def changed(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice changed bug 1234: status ASSIGNED to RESOLVED, cc + alice."""
    return _about(data, "changed", links, [Part("text", f": {_changes(data['changes'])}")])


def closed(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice resolved bug 1234 as FIXED: Crash on empty input."""
    did = "resolved" if data["bug"]["status"] == "RESOLVED" else "closed"
    resolution = data["bug"]["resolution"]
    as_ = [Part("text", f" as {shown(resolution)}")] if resolution else []
    return _about(data, did, links, [*as_, *_summary(data, links)])


def reopened(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Erin reopened bug 1279 ui-3 fails on win64 after sleep."""
    return _about(data, "reopened", links, [plain(" "), *prose(data["bug"]["summary"], links)])


def duplicated(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice found that bug 1234 is a duplicate of bug 1200."""
    of = data["bug"]["dupe_of"]
    other = bug(of, links) if of is not None else plain("a bug that is not public")
    return _about(data, "marked", links, [plain(" as a duplicate of "), other])


def moved(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice moved bug 1234 to Core, DOM."""
    return _about(data, "moved", links, [Part("text", f" to {_place(data)}"), *_summary(data, links)])


def assigned(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice assigned bug 1234 to bob: Crash on empty input."""
    to = person(data["bug"]["assigned_to"])
    return _about(data, "assigned", links, [plain(" to "), to, *_summary(data, links)])


def published(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Bug 1234 became public: Crash on empty input."""
    return [bug(data["bug"]["id"], links), plain(" became public"), *_summary(data, links)]


def hidden(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Bug 1234 is no longer public."""
    return [bug(data["id"], links), plain(" is no longer public")]


def deleted(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """Bug 1234 was deleted."""
    return [plain(f"bug {data['id']} was deleted")]


def comment(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice wrote on bug 1234: it crashes here too."""
    said = data["comment"]
    parts = [person(said["creator"]), plain(" wrote on "), bug(said["bug_id"], links)]
    line = first_line(said["text"])
    return [*parts, plain(": "), *prose(line, links)] if line else parts


def comment_published(data: Mapping[str, Any], seen: Seen, links: Links) -> list[Part]:
    """A comment became public: alice wrote on bug 1234."""
    return [plain("a comment became public: "), *comment(data, seen, links)]


def comment_hidden(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """A comment on bug 1234 is no longer public."""
    return [plain("a comment on "), bug(data["bug_id"], links), plain(" is no longer public")]


def attachment(did: str) -> Any:
    """Return a sentence: bob attached fix.patch to bug 1234: a fix."""

    def sentence(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
        about = data["attachment"]
        parts = [person(data["who"])] if "who" in data else []
        parts += [plain(f" {did} ") if parts else plain(""), _attachment(about["id"], links)]
        parts += [plain(" on " if "who" in data else f" {did} on "), bug(about["bug_id"], links)]
        after = _changes(data["changes"]) if data.get("changes") and did == "changed" else about["summary"]
        return [*parts, plain(": "), *prose(after, links)]

    return sentence


def attachment_hidden(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Attachment 55 on bug 1234 is no longer public."""
    parts = [plain(f"attachment {data['id']} on "), bug(data["bug_id"], links)]
    return [*parts, plain(" is no longer public")]


def _attachment(number: int, links: Links) -> Part:
    href = f"{links.bugzilla}/attachment.cgi?id={number}&action=edit" if links.bugzilla else None
    return Part("bug", f"attachment {number}", href)


def flag(state: str) -> Any:
    """Return a sentence: carol asked bob for review of attachment 8841 on bug 1288."""

    def sentence(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
        about = data["flag"]
        parts = [person(data["who"])]
        if state == "requested":
            parts += [plain(" asked "), person(about["requestee"])] if about["requestee"] else [plain(" asked")]
            parts.append(plain(" for "))
        else:
            parts.append(plain(f" {_FLAG[state]} "))
        parts.append(Part("text", shown(about["name"])))
        if data["attachment_id"] is not None:
            parts += [plain(" of "), _attachment(data["attachment_id"], links)]
        return [*parts, plain(" on "), bug(data["bug_id"], links)]

    return sentence


def thing(kind: str, did: str) -> Any:
    """Return a sentence: component DOM of Core was changed: name old to DOM."""

    def sentence(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
        about = data[kind]
        parts = [plain(f"{kind} "), Part("name", shown(about["name"]))]
        if about.get("product"):
            parts += [plain(" of "), Part("text", shown(about["product"]))]
        parts.append(plain(f" was {did}"))
        return [*parts, Part("text", f": {_changes(data['changes'])}")] if data.get("changes") else parts

    return sentence


SENTENCES = {
    "bugzilla.bug.created": ("Bug", created),
    "bugzilla.bug.changed": ("Bug", changed),
    "bugzilla.bug.closed": ("Bug", closed),
    "bugzilla.bug.reopened": ("Bug", reopened),
    "bugzilla.bug.duplicated": ("Bug", duplicated),
    "bugzilla.bug.moved": ("Bug", moved),
    "bugzilla.bug.assigned": ("Bug", assigned),
    "bugzilla.bug.published": ("Bug", published),
    "bugzilla.bug.hidden": ("Bug", hidden),
    "bugzilla.bug.deleted": ("Bug", deleted),
    "bugzilla.comment.created": ("Bug", comment),
    "bugzilla.comment.published": ("Bug", comment_published),
    "bugzilla.comment.hidden": ("Bug", comment_hidden),
    "bugzilla.attachment.created": ("Bug", attachment("added")),
    "bugzilla.attachment.changed": ("Bug", attachment("changed")),
    "bugzilla.attachment.obsoleted": ("Bug", attachment("made obsolete")),
    "bugzilla.attachment.deleted": ("Bug", attachment("deleted the content of")),
    "bugzilla.attachment.published": ("Bug", attachment("became public")),
    "bugzilla.attachment.hidden": ("Bug", attachment_hidden),
    **{f"bugzilla.flag.{state}": ("Bug", flag(state)) for state in _FLAG},
    **{
        f"bugzilla.{kind}.{did}": ("Bugzilla", thing(kind, did))
        for kind in _THINGS
        for did in ("created", "changed", "deleted")
    },
}
