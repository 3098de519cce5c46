# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A site whose repository, builders and bugs make events, each of the shape that was recorded of the real source."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

from sourcepulse.events.event import Event, Numbers, event_id, format_time
from support.events.recorded import recorded_events

HG = "hg://hg.example.org"
CI = "buildbot://ci"
BUGS = "bugzilla://3f0b7a52-6c1e-4d0b-9a37-1d2f5e8c4b60"
REPO = "integration/inbound"
#: 2026-11-22T10:00:00Z
START = 1795341600.0
EPOCH = "b81f6e0c-2d7a-4c55-9e1b-0f64a3c7d210"


def node(number: int) -> str:
    return event_id("node", "hg.push.v1", str(number)).replace("-", "") + "00c0ffee"


@cache
def _samples() -> dict[str, Event]:
    return {event.type: event for name in ("hg", "buildbot", "bugzilla") for event in recorded_events(name)}


class Site:
    """Counts the events of each source; `now` is its clock, in seconds since 1970, which each event moves on."""

    def __init__(self) -> None:
        self.now = START
        self.epoch = EPOCH
        self._sequences: dict[str, int] = {}
        self._numbers = 0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def event(self, type_: str, source: str, subject: str, **data: Any) -> Event:
        """Return an event of a type: the recorded one with other data."""
        self.now += 1
        body = copy.deepcopy(dict(_samples()[type_].data))
        if "bug" in data and "bug" in body:
            data = data | {"bug": {**body["bug"], **data["bug"]}}
        self._sequences[source] = sequence = self._sequences.get(source, 0) + 1
        return Event.of(
            type_,
            source=source,
            key=[self.epoch, str(self.number())],
            subject=subject,
            time=self.now,
            data=body | data,
            words=[subject.rpartition("/")[2]],
        ).numbered(Numbers(epoch=self.epoch, sequence=sequence, typesequence=sequence))

    def push(
        self,
        *nodes: str,
        user: str = "alice",
        descs: Sequence[str] = ("Bug 1234 - handle empty input",),
        repo: str = REPO,
        count: int | None = None,
        url: str | None = None,
    ) -> Event:
        """Return a push of these changesets, oldest first; with a higher count the last ones are cut off the list."""
        listed = nodes if count is None else nodes[:-1]
        sample = dict(_samples()["hg.push.v1"].data["changesets"][0])
        changesets = [
            sample | {"node": each, "desc": descs[min(number, len(descs) - 1)], "author": f"{user}@example.org"}
            for number, each in enumerate(listed)
        ]
        truncated = [] if count is None else [{"field": "/changesets", "kept": len(listed), "total": count}]
        return self.event(
            "hg.push.v1", f"{HG}/{repo}", repo,
            repo=repo, repo_url=url or f"https://hg.example.org/{repo}", user=user, count=count or len(nodes),
            first=nodes[0], last=nodes[-1], changesets=changesets, truncated=truncated,
            heads=[{"node": nodes[-1], "branch": "default", "closed": False}],
        )  # fmt: skip

    def tree(self, state: str, *, repo: str = REPO, **data: Any) -> Event:
        kind = {"closed": "closed", "open": "opened"}.get(state, "approval")
        usual: dict[str, Any] = {"oldstate": "open", "reason": None, "until": None, "user": "bob"}
        return self.event(f"hg.tree.{kind}.v1", f"{HG}/{repo}", repo, **usual | {"repo": repo, "state": state} | data)

    def refused(self, *, repo: str = REPO) -> Event:
        return self.event("hg.tree.refused.v1", f"{HG}/{repo}", repo, repo=repo, user="maximilian")

    def stripped(self, *nodes: str, repo: str = REPO) -> Event:
        return self.event("hg.repo.stripped.v1", f"{HG}/{repo}", repo, repo=repo, nodes=list(nodes), count=len(nodes))

    def bug(self, number: int, kind: str = "changed", **bug: Any) -> Event:
        usual = {"id": number, "summary": f"Bug number {number}", "is_open": True, "status": "NEW", "resolution": ""}
        changed = usual | {"last_change_time": format_time(self.now + 1)} | bug
        return self.event(f"bugzilla.bug.{kind}.v1", BUGS, f"bug/{number}", bug=changed)

    def hidden(self, number: int, kind: str = "hidden") -> Event:
        return self.event(f"bugzilla.bug.{kind}.v1", BUGS, f"bug/{number}", id=number)

    def comment(self, bug: int, text: str, *, number: int = 500) -> Event:
        sample = dict(_samples()["bugzilla.comment.created.v1"].data["comment"])
        comment = sample | {"id": number, "bug_id": bug, "text": text, "count": 3}
        return self.event("bugzilla.comment.created.v1", BUGS, f"bug/{bug}", comment=comment)


class Build:
    """One build of a builder: `request`, `started`, `failed` ..., `ran`, `finished`, each an event."""

    def __init__(self, site: Site, builder: str, revision: str | None, **more: Any) -> None:
        self._site = site
        self.builder = builder
        self.source: str = more.pop("source", CI)
        self.buildid = site.number()
        self.requestid: int = more.pop("requestid", None) or site.number()
        parts = builder.split("-")
        platform, buildtype = more.pop("platform", parts[0]), more.pop("buildtype", parts[1] if parts[2:] else "opt")
        tree: str = more.pop("tree", "unknown")
        known = revision or "unknown"
        self._common: dict[str, Any] = {
            "buildername": builder,
            "real_buildername": builder,
            "builderid": 3,
            "sourcestamps": [
                {"codebase": "", "repository": more.pop("repository", f"https://hg.example.org/{REPO}"),
                 "project": "core", "branch": "default", "revision": revision}
            ],
            "properties": {},
            "normalized": {"tree": tree, "product": "unknown", "platform": platform, "buildtype": buildtype,
                           "revision": known},
        }  # fmt: skip
        self._more = more
        self.submitted_at: str | None = None
        self.started_at: str | None = None
        self._sets = 0

    def _event(self, type_: str, subject: str, **data: Any) -> Event:
        sample = _samples()[type_].data
        known = {name: value for name, value in (self._common | self._more).items() if name in sample}
        return self._site.event(type_, self.source, subject, **known | data)

    @property
    def _subject(self) -> str:
        return f"builder/{self.builder}/builds/{self.buildid}"

    def request(self) -> Event:
        self.submitted_at = format_time(self._site.now + 1)
        return self._event(
            "build.request.submitted.v1", f"buildrequest/{self.requestid}",
            buildrequestid=self.requestid, submitted_at=self.submitted_at,
        )  # fmt: skip

    def completed(self, outcome: str = "success", **data: Any) -> Event:
        usual = {"buildid": self.buildid, "collapsed_into": None, "outcome": outcome}
        return self._event(
            "build.request.completed.v1", f"buildrequest/{self.requestid}",
            buildrequestid=self.requestid, submitted_at=self.submitted_at or format_time(self._site.now),
            **usual | data,
        )  # fmt: skip

    def started(self) -> Event:
        self.started_at = self.started_at or format_time(self._site.now + 1)
        return self._event("build.started.v1", self._subject, **self._ids(), started_at=self.started_at)

    def finished(self, outcome: str = "success", state_string: str = "build done") -> Event:
        self.started_at = self.started_at or format_time(self._site.now + 1)
        return self._event(
            "build.finished.v1", self._subject, **self._ids(), started_at=self.started_at,
            complete_at=format_time(self._site.now + 1), outcome=outcome, state_string=state_string,
        )  # fmt: skip

    def _ids(self) -> dict[str, Any]:
        return {
            "buildid": self.buildid,
            "buildnumber": self.buildid,
            "buildrequestid": self.requestid,
            "url": f"https://ci.example.org/#/builders/3/builds/{self.buildid}",
        }

    def failed(self, path: str, *, line: int | None = 41, message: str = "expected exit 0, got 139") -> Event:
        return self._event(
            "test.case.failed.v1", self._subject, buildid=self.buildid, buildnumber=self.buildid,
            test_resultid=self._site.number(), test_code_path=path, test_name=None, line=line, message=message,
            outcome="failure", description="unit", testid=event_id("test", "test.case.failed.v1", path),
        )  # fmt: skip

    def ran(self, outcome: str = "success", **data: Any) -> Event:
        self._sets += 1
        usual: dict[str, Any] = {"incomplete": False, "problems": [], "cases_left_out": 0, "description": "unit"}
        return self._event(
            "test.run.finished.v1", self._subject, buildid=self.buildid, buildnumber=self.buildid, outcome=outcome,
            test_result_setid=self._site.number(), **usual | data,
        )  # fmt: skip

    def story(self, outcome: str = "success", *failed: str, state_string: str = "build done") -> list[Event]:
        """Return all events of a build that runs tests."""
        return [
            self.request(),
            self.started(),
            *(self.failed(path) for path in failed),
            self.ran("failure" if failed else "success"),
            self.finished(outcome, state_string),
            self.completed(outcome),
        ]
