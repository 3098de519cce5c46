# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The check before publishing: ask the one Bugzilla that an event is of; without its answer the event waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sourcepulse.errors import ConfigError, DecodeError, VisibilityUnknownError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.relay.visibility import Verdict
from sourcepulse_bugzilla.errors import DrainerError, SiteConflictError
from sourcepulse_bugzilla.mapping.views import THINGS
from sourcepulse_bugzilla.perl.child import Child
from sourcepulse_bugzilla.perl.requests import Drainer, Hello, Judged, command_for
from sourcepulse_bugzilla.visibility.folders import perl_of
from sourcepulse_bugzilla.visibility.sites import is_ours_alone, serving_folder
from sourcepulse_bugzilla.visibility.unseen import apply_marks

SCHEME = "bugzilla://"
#: The relay waits so long for one answer, and then tries again as after any failure.
ANSWER_WAIT_SECONDS = 15.0
#: No request is longer.
REQUEST_MAX_BYTES = 8 * 1024 * 1024
#: A character of two bytes takes six in the ASCII of a request; no other grows more.
ASCII_GROWTH = 3
#: For what surrounds an event in a request.
ROOM_BYTES = 1024


def open_check(outbox: Outbox) -> Check:
    """Return the check for the Bugzillas that this outbox knows; nothing is started before it is asked."""
    return Check(outbox)


class Check:
    """Asks a drain.pl in each Bugzilla; for one thread at a time. Close it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._open: dict[Path, Drainer] = {}

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        """Return a verdict for each event: whether an anonymous visitor may read it at this moment.

        VisibilityUnknownError if a Bugzilla cannot be asked, or is not known; then none of the events may be sent.
        """
        verdicts = [Verdict(send=False)] * len(events)
        for source in dict.fromkeys(event.source for event in events):
            places = [place for place, event in enumerate(events) if event.source == source]
            answers = self._ask_one(source, [events[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                verdicts[place] = answer
        return verdicts

    def close(self) -> None:
        """End all that was started; may be called again."""
        for folder in list(self._open):
            self._end(folder)

    def _ask_one(self, source: str, claimed: Sequence[Claimed]) -> list[Verdict]:
        folder = self._find(source)
        events = [_decoded(one) for one in claimed]
        try:
            answers = iter([answer for batch in _batches(claimed, events) for answer in self._judge(folder, batch)])
        except DrainerError as error:
            self._end(folder)
            raise _unknown(source, str(error)) from None
        # An event that cannot be decoded cannot be judged, so it is not sent.
        verdicts = [Verdict(send=False) if event is None else _verdict(event.type, next(answers)) for event in events]
        datas = [None if event is None else event.data for event in events]
        return apply_marks(self._outbox, source, claimed, datas, verdicts)

    def _judge(self, folder: Path, events: Sequence[Event]) -> list[Judged]:
        return self._open[folder].check([{"type": event.type, "data": event.data} for event in events])

    def _find(self, source: str) -> Path:
        """Return the folder of the Bugzilla of a source; its drain.pl is open then, and said who it is."""
        if not is_ours_alone(self._outbox.path):
            # It names programs that are started here.
            path = self._outbox.path
            raise _unknown(source, f"{path} can be written by others; chmod 600, and run the relay as its owner")
        site = source.removeprefix(SCHEME)
        try:
            folder = serving_folder(self._outbox, site)
            if folder is None:
                raise _unknown(source, "no Bugzilla of this outbox has this id; start the sidecar of the one that has")
            hello = self._hello(folder)
        except SiteConflictError as error:
            raise _unknown(source, str(error)) from None
        except (DrainerError, ConfigError) as error:
            raise _unknown(source, f"{error} (if it moved, start the sidecar in its new folder)") from None
        if hello.site != site:
            self._end(folder)
            raise _unknown(
                source, f"{folder} is the Bugzilla {hello.site} now; start the sidecar of the one of this id"
            )
        return folder

    def _hello(self, folder: Path) -> Hello:
        if folder not in self._open:
            command = command_for(folder, perl_of(self._outbox, folder))
            self._open[folder] = Drainer(Child(command, wait_s=ANSWER_WAIT_SECONDS))
        try:
            return self._open[folder].hello()
        except BaseException:
            self._end(folder)
            raise

    def _end(self, folder: Path) -> None:
        self._open.pop(folder).close()


def _unknown(source: str, reason: str) -> VisibilityUnknownError:
    return VisibilityUnknownError(f"it is not known now whether the public may see events of {source}: {reason}")


def _decoded(event: Claimed) -> Event | None:
    try:
        return decode(event.body, routing_key=event.routing_key)
    except DecodeError:
        return None


def _batches(claimed: Sequence[Claimed], events: Sequence[Event | None]) -> Iterator[list[Event]]:
    """Return the events that can be judged in parts, each of which makes a request that is not too long."""
    batch: list[Event] = []
    left = REQUEST_MAX_BYTES
    for one, event in zip(claimed, events, strict=True):
        size = ASCII_GROWTH * len(one.body) + ROOM_BYTES
        if size > left and batch:
            yield batch
            batch, left = [], REQUEST_MAX_BYTES
        if event is not None:
            batch.append(event)
            left -= size
    if batch:
        yield batch


def _verdict(type_: str, answer: Judged) -> Verdict:
    subject = None if answer.bug is None else f"bug/{answer.bug}"
    # The words of a product's key are its name, which is what must not be read any more.
    is_thing = not THINGS.keys().isdisjoint(type_.split(".")[1:2])
    return Verdict(answer.send, answer.data, subject, keeps_key=not is_thing)
