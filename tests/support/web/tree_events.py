# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The events of one tree, as Mercurial and Buildbot publish them: each is a recorded one with other members.

tree = Tree("integration/inbound")
push = tree.push("Bug 1234 - handle empty input", user="alice")
build = tree.build("linux64-debug-unit", push)
gateway.append(push, build.started(), build.failed("parse.t"), build.finished("failure"))
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any
from urllib.parse import quote

from sourcepulse.events.event import Event, event_id, format_time
from support.events.recorded import recorded_events

HOST = "hg.example.org"
MASTER = "buildbot://ci"
RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
#: From a push to the request, from there to the start, and to the end.
WAIT_SECONDS, RUN_SECONDS = 4.0, 455.0
#: One master has all builds, whatever tree they are of.
_build_numbers = count(1)


@cache
def _recorded(type_: str) -> Event:
    names = ("hg", "buildbot", "bugzilla")
    return next(event for name in names for event in recorded_events(name) if event.type == type_)


def like_recorded(type_: str, *, source: str, key: list[str], words: list[str], at: float, **members: Any) -> Event:
    """Return the recorded event of a type with other members; `key` makes the id, `words` the routing key."""
    recorded = _recorded(type_)
    subject = members.pop("subject_", recorded.subject)
    unknown = members.keys() - recorded.data.keys()
    assert not unknown, f"{type_} has no {unknown}"
    return Event.of(
        type_,
        source=source,
        key=key,
        subject=subject,
        time=at,
        data={**recorded.data, **members},
        words=words,
    )


def node_of(text: str) -> str:
    """Return 40 hexadecimal digits that are always the same for a text."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Tree:
    """A repository that is pushed to, and the builders of its pushes."""

    def __init__(self, repo: str = "integration/inbound", *, now: float | None = None) -> None:
        self.repo = repo
        self.source = f"hg://{HOST}/{quote(repo)}"
        self.url = f"https://{HOST}/{quote(repo)}"
        #: Seconds since 1970 of the next event of the repository.
        self.now = time.time() if now is None else now
        self._count = 0

    def push(self, *descs: str, user: str = "alice", author: str | None = None, **members: Any) -> Event:
        """A push with a changeset for each description, the newest last."""
        changesets = [self._changeset(desc, author or f"{user.title()} <{user}@example.org>") for desc in descs]
        nodes = [changeset["node"] for changeset in changesets]
        return self._event(
            "hg.push.v1",
            user=user,
            count=len(nodes),
            first=nodes[0],
            last=nodes[-1],
            heads=[{"node": nodes[-1], "branch": "default", "closed": False}],
            changesets=changesets,
            **members,
        )

    def closed(self, reason: str, *, user: str = "bob", until: str | None = None) -> Event:
        """The tree closes."""
        return self._event("hg.tree.closed.v1", user=user, state="closed", oldstate="open", reason=reason, until=until)

    def approval(self, reason: str, *, user: str = "bob") -> Event:
        """The tree requires approval."""
        return self._event("hg.tree.approval.v1", user=user, oldstate="open", reason=reason)

    def opened(self, *, user: str = "bob") -> Event:
        """The tree opens."""
        return self._event("hg.tree.opened.v1", user=user, state="open", oldstate="closed", reason=None)

    def refused(self, reason: str, *, user: str = "dave") -> Event:
        """A push is refused."""
        return self._event("hg.tree.refused.v1", user=user, reason=reason)

    def build(self, builder: str, push: Event, *, platform: str = "linux64", buildtype: str = "opt") -> Build:
        """A build of a push that is asked for when it comes."""
        return Build(self, builder, push.data["last"], platform, buildtype, next(_build_numbers), self.now)

    def _changeset(self, desc: str, author: str) -> dict[str, Any]:
        self._count += 1
        recorded: dict[str, Any] = _recorded("hg.push.v1").data["changesets"][0]
        node = node_of(f"{self.repo} {self._count} {desc}")
        return {**recorded, "node": node, "author": author, "desc": desc, "date": [int(self.now), 0]}

    def _event(self, type_: str, **members: Any) -> Event:
        self._count += 1
        key = [str(self._count), str(self.now)]
        place = {"repo": self.repo, "repo_url": members.pop("repo_url", self.url), "subject_": self.repo}
        return like_recorded(
            type_, source=self.source, key=key, words=self.repo.split("/"), at=self.now, **members | place
        )


@dataclass(frozen=True)
class Build:
    """One build, from its request to its end."""

    tree: Tree
    builder: str
    revision: str
    platform: str
    buildtype: str
    number: int
    asked: float
    worker: str = "w1"

    def submitted(self) -> Event:
        """It is asked for."""
        return self._event("build.request.submitted.v1", self.asked, subject_=f"buildrequest/{self.number}")

    def started(self) -> Event:
        """It begins."""
        return self._event("build.started.v1", self.asked + WAIT_SECONDS, workername=self.worker)

    def failed(self, test: str, message: str | None = "1 != 2", *, line: int | None = None, **members: Any) -> Event:
        """A test fails in it."""
        testid = event_id("test", "test", test)
        more = {"test_code_path": test, "line": line, "message": message, "testid": testid, **members}
        return self._event("test.case.failed.v1", self._end, extra=test, **more)

    def ran(self, *, failures: int = 0) -> Event:
        """Its tests are counted."""
        outcome = "failure" if failures else "success"
        counts = {"tests_total": 5, "tests_passed": 5 - failures, "tests_failed": failures, "tests_skipped": 0}
        more = {"outcome": outcome, "incomplete": False, "problems": [], "notes": [], "cases": failures, **counts}
        return self._event("test.run.finished.v1", self._end, words=[outcome, self.builder], **more)

    def finished(self, outcome: str = "success", state_string: str | None = None, *, seconds: float = 0) -> Event:
        """It ends."""
        end = self.asked + WAIT_SECONDS + seconds if seconds else self._end
        more = {"workername": self.worker, "complete_at": format_time(end), "recovered": False}
        said = state_string or ("build successful" if outcome == "success" else f"{outcome} tests")
        number = RESULTS.index(outcome) if outcome in RESULTS else 2
        words = [outcome, self.builder]
        return self._event(
            "build.finished.v1", end, words=words, outcome=outcome, results=number, state_string=said, **more
        )

    def cancelled(self) -> Event:
        """Its request is cancelled before it began."""
        more = {"complete_at": format_time(self._end), "outcome": "cancelled", "results": 6, "buildid": None}
        words = ["cancelled", self.builder]
        subject = f"buildrequest/{self.number}"
        return self._event("build.request.completed.v1", self._end, words=words, subject_=subject, **more)

    @property
    def _end(self) -> float:
        return self.asked + WAIT_SECONDS + RUN_SECONDS

    def _event(self, type_: str, at: float, *, words: list[str] | None = None, extra: str = "", **more: Any) -> Event:
        started = format_time(self.asked + WAIT_SECONDS)
        stamp = {"codebase": "", "repository": self.tree.url, "project": "", "branch": "default"}
        normalized = {"tree": self.tree.repo.rpartition("/")[2], "product": "unknown", "platform": self.platform}
        every = {
            "buildid": self.number,
            "buildnumber": self.number,
            "buildername": self.builder,
            "real_buildername": self.builder,
            "buildrequestid": self.number,
            "submitted_at": format_time(self.asked),
            "started_at": started,
            "revision": self.revision,
            "sourcestamps": [{**stamp, "revision": self.revision}],
            "changes": [{"changeid": self.number, "revision": self.revision}],
            "properties": {"got_revision": self.revision},
            "normalized": {**normalized, "buildtype": self.buildtype, "revision": self.revision},
            "url": f"https://ci.example.org/#/builds/{self.number}",
            "recovered": False,
        }
        known = _recorded(type_).data
        members = {name: value for name, value in every.items() if name in known} | more
        members.setdefault("subject_", f"builder/{self.builder}/builds/{self.number}")
        key = [str(self.number), started, extra]
        return like_recorded(type_, source=MASTER, key=key, words=words or [self.builder], at=at, **members)
