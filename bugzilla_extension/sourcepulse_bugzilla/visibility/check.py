# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The check before publishing: ask the Bugzilla that an event came from; without its answer the event waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sourcepulse.errors import ConfigError, DecodeError, VisibilityUnknownError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Verdict
from sourcepulse_bugzilla.errors import DrainerError, SiteConflictError
from sourcepulse_bugzilla.mapping.views import THINGS
from sourcepulse_bugzilla.perl.requests import Drainer, Hello, Judged
from sourcepulse_bugzilla.visibility.folder_of_site import is_ours_alone, serving_folder
from sourcepulse_bugzilla.visibility.folders import start_drainer
from sourcepulse_bugzilla.visibility.never_shown import apply_marks

SCHEME = "bugzilla://"
#: The maximum size of a request.
REQUEST_MAX_BYTES = 8 * 1024 * 1024
#: In ASCII, JSON needs six bytes for a character that has two in UTF-8; no other character grows more.
ASCII_GROWTH = 3
#: Room for what surrounds an event in a request.
ROOM_BYTES = 1024


def open_check(outbox: Outbox) -> Check:
    """Return the check for the Bugzillas that this outbox knows; their processes start when first asked."""
    return Check(outbox)


class Check:
    """Asks the drain.pl of each Bugzilla. Not thread-safe. Close it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._open: dict[Path, Drainer] = {}

    def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
        """Return a verdict for each event: whether an anonymous visitor may read it at this moment.

        VisibilityUnknownError if a Bugzilla is unknown or does not answer; then none of the events may be sent.
        """
        return self._of_each_source(events, self._ask_one)

    def look(self, events: Sequence[Claimed]) -> list[Verdict]:
        """Return and raise as `ask` does, for one more reader of events that were published before.

        What hides a thing that was never shown was withheld then, so the marks are neither read nor made.
        """
        return self._of_each_source(events, lambda source, claimed: self._look_one(source, claimed)[0])

    def close(self) -> None:
        """End all processes that were started; may be called again."""
        for folder in list(self._open):
            self._end(folder)

    def _of_each_source(
        self, events: Sequence[Claimed], question: Callable[[str, Sequence[Claimed]], list[Verdict]]
    ) -> list[Verdict]:
        verdicts = [Verdict(send=False)] * len(events)
        for source in dict.fromkeys(event.source for event in events):
            places = [place for place, event in enumerate(events) if event.source == source]
            answers = question(source, [events[place] for place in places])
            for place, answer in zip(places, answers, strict=True):
                verdicts[place] = answer
        return verdicts

    def _ask_one(self, source: str, claimed: Sequence[Claimed]) -> list[Verdict]:
        verdicts, events = self._look_one(source, claimed)
        datas = [None if event is None else event.data for event in events]
        return apply_marks(self._outbox, source, claimed, datas, verdicts)

    def _look_one(self, source: str, claimed: Sequence[Claimed]) -> tuple[list[Verdict], list[Event | None]]:
        folder = self._find(source)
        events = [_decoded(one) for one in claimed]
        try:
            answers = iter([answer for batch in _batches(claimed, events) for answer in self._judge(folder, batch)])
        except DrainerError as error:
            self._end(folder)
            raise _unknown(source, str(error)) from None
        # An event that cannot be decoded cannot be judged, so it is not sent.
        verdicts = [Verdict(send=False) if event is None else _verdict(event.type, next(answers)) for event in events]
        return verdicts, events

    def _judge(self, folder: Path, events: Sequence[Event]) -> list[Judged]:
        return self._open[folder].check([{"type": event.type, "data": event.data} for event in events])

    def _find(self, source: str) -> Path:
        """Return the folder of a source's Bugzilla, after its drain.pl was started and confirmed the identity."""
        if not is_ours_alone(self._outbox.path):
            # The outbox names programs that are started here.
            path = self._outbox.path
            raise _unknown(source, f"{path} can be written by others; chmod 600, and run the relay as its owner")
        site = source.removeprefix(SCHEME)
        try:
            folder = serving_folder(self._outbox, site)
            if folder is None:
                raise _unknown(source, "no Bugzilla of this outbox has this id; start the sidecar of the one that does")
            hello = self._hello(folder)
        except SiteConflictError as error:
            raise _unknown(source, str(error)) from None
        except (DrainerError, ConfigError) as error:
            raise _unknown(source, f"{error} (if it moved, start the sidecar in its new folder)") from None
        if hello.site != site:
            self._end(folder)
            raise _unknown(
                source, f"{folder} is the Bugzilla {hello.site} now; start the sidecar of the Bugzilla with this id"
            )
        return folder

    def _hello(self, folder: Path) -> Hello:
        if folder not in self._open:
            self._open[folder] = start_drainer(self._outbox, folder)
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
    """Yield the events that can be judged, in batches small enough for a request."""
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
    # The key of a product contains its name, which must no longer be read.
    is_thing = not THINGS.isdisjoint(type_.split(".")[1:2])
    return Verdict(answer.send, answer.data, subject, keeps_key=not is_thing)
