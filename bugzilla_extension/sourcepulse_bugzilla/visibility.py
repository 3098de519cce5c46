# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The check before publishing: ask Bugzilla what an anonymous visitor sees now; no answer means wait."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sourcepulse.errors import ConfigError, DecodeError, VisibilityUnknownError
from sourcepulse.outbox import Claimed, Outbox
from sourcepulse.serialize import decode
from sourcepulse_bugzilla.child import Child
from sourcepulse_bugzilla.drainer import Drainer, Hello, Visible, command_for
from sourcepulse_bugzilla.errors import DrainerError
from sourcepulse_bugzilla.folders import known_folders
from sourcepulse_bugzilla.mentions import Needs, needs_of

SCHEME = "bugzilla://"
#: The relay waits so long for one answer, and then tries again like after any failure.
ANSWER_WAIT_SECONDS = 15.0
OTHERS_WRITE = 0o022


def open_check(outbox: Outbox) -> Check:
    """Give the check for the Bugzillas that this outbox knows; nothing is started before it is asked."""
    return Check(outbox)


class Check:
    """Asks a drain.pl in each Bugzilla; for one thread at a time. Close it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._open: dict[Path, Drainer] = {}

    def ask(self, events: Sequence[Claimed]) -> list[bool]:
        """Tell for each event whether everybody may see at this moment what it tells.

        VisibilityUnknownError if a Bugzilla cannot be asked, or is not known; then none of the events may be sent.
        """
        allowed = [False] * len(events)
        for source in dict.fromkeys(event.source for event in events):
            places = [place for place, event in enumerate(events) if event.source == source]
            answers = self._ask_one(source, [events[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                allowed[place] = answer
        return allowed

    def close(self) -> None:
        """Have all that was started end; may be called again."""
        for folder in list(self._open):
            self._end(folder)

    def _ask_one(self, source: str, events: Sequence[Claimed]) -> list[bool]:
        folder, hello = self._find(source)
        try:
            needs = [_needs_of(event, hello) for event in events]
            visible = _answer(self._open[folder], [need for need in needs if need is not None])
            return [need is not None and need.are_met(visible) for need in needs]
        except (DrainerError, KeyError) as error:
            self._end(folder)
            reason = str(error) if isinstance(error, DrainerError) else "drain.pl does not answer all of the question"
            raise _unknown(source, reason) from None

    def _find(self, source: str) -> tuple[Path, Hello]:
        """Find the Bugzilla of a source, and hear how it is now; its drain.pl is open then."""
        if not _is_ours_alone(self._outbox.path):
            # It names programs that are started here.
            path = self._outbox.path
            raise _unknown(source, f"{path} can be written by others; chmod 600, and run the relay as its owner")
        reason = "no Bugzilla of this outbox has this id"
        for folder, perl in sorted(known_folders(self._outbox), key=lambda known: known[0] not in self._open):
            try:
                hello = self._hello(folder, perl)
            except (DrainerError, ConfigError) as error:
                reason = str(error)
                continue
            if source == SCHEME + hello.site:
                return folder, hello
        raise _unknown(source, reason)

    def _hello(self, folder: Path, perl: str) -> Hello:
        if folder not in self._open:
            self._open[folder] = Drainer(Child(command_for(folder, perl), wait_s=ANSWER_WAIT_SECONDS))
        try:
            return self._open[folder].hello()
        except BaseException:
            self._end(folder)
            raise

    def _end(self, folder: Path) -> None:
        self._open.pop(folder).close()


def _is_ours_alone(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_WRITE


def _unknown(source: str, reason: str) -> VisibilityUnknownError:
    return VisibilityUnknownError(f"nobody can say now whether the public may see events of {source}: {reason}")


def _answer(drainer: Drainer, needs: Sequence[Needs]) -> Visible:
    """Ask once for all that is needed."""
    return drainer.visible(
        sorted(set().union(*(need.bugs | need.gone for need in needs))),
        sorted(set().union(*(need.comments for need in needs))),
        sorted(set().union(*(need.attachments for need in needs))),
    )


def _needs_of(event: Claimed, hello: Hello) -> Needs | None:
    try:
        data = decode(event.body, routing_key=event.routing_key).data
    except DecodeError:
        return None
    return needs_of(event.type, data, bug_fields=hello.bug_fields, urlbase=hello.urlbase)
