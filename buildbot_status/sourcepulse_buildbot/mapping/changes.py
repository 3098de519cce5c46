# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the event of a change from its row."""

from __future__ import annotations

from urllib.parse import urlsplit

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import property_values
from sourcepulse_buildbot.mapping.builds import published
from sourcepulse_buildbot.mapping.emitter import Emitter, make_event
from sourcepulse_buildbot.mapping.rows import Row, seconds_of, time_of

ADDED = "change.added.v1"


def change_key(change: Row) -> list[str]:
    return [str(change["changeid"]), str(seconds_of(change["when_timestamp"]))]


def change_added(emitter: Emitter, *, change: Row, recovered: bool = False) -> Event:
    """Return the event that a change source added a change to Buildbot."""
    repository = change["repository"] or ""
    return make_event(
        emitter,
        ADDED,
        {
            "changeid": change["changeid"],
            "author": change["author"] or "",
            "committer": change["committer"],
            "comments": change["comments"] or "",
            "branch": change["branch"],
            "revision": change["revision"],
            "revlink": change["revlink"],
            "when_timestamp": time_of(change["when_timestamp"]),
            "category": change["category"],
            "repository": repository,
            "codebase": change["codebase"] or "",
            "project": change["project"] or "",
            "files": list(change["files"]),
            "properties": published(emitter, property_values(change["properties"], emitter.properties)),
        },
        key=change_key(change),
        subject=f"change/{change['changeid']}",
        time=seconds_of(change["when_timestamp"]) or 0,
        words=[change["project"] or "", *_path_words(repository)],
        recovered=recovered,
    )


def _path_words(repository: str) -> list[str]:
    """Return the words of a repository's path: `https://host/a/b`, `host:a/b` and `/a/b` have the words `a`, `b`."""
    path = repository
    if "://" in repository:
        try:
            path = urlsplit(repository).path
        except ValueError:
            path = repository.partition("://")[2].partition("/")[2]
    elif ":" in repository.partition("/")[0]:
        path = repository.partition(":")[2]
    return [word for word in path.split("/") if word] or [""]
