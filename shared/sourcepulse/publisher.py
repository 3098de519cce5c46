# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Store events of a script in an outbox; a relay publishes them."""

from __future__ import annotations

import socket
import time as clock
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sourcepulse.catalogue import check, complete_type, schema_for
from sourcepulse.catalogue.own_types import Schemas, check_own, own_type, read_own_types
from sourcepulse.errors import EventBuriedError, EventError, OutboxReplacedError
from sourcepulse.events.event import EVENT_MAX_BYTES, Event, routing_words
from sourcepulse.events.topics import FAMILIES
from sourcepulse.outbox.outbox import BURIED, LOCK_WAIT_SECONDS, Outbox
from sourcepulse.outbox.queries import find

_FAMILIES_OF_OURS = {word for words in FAMILIES.values() for word in words}


class Publisher:
    """Stores events of a script, each checked against the schema of its type.

        with Publisher("/var/lib/sourcepulse/outbox.db") as publisher:
            publisher.emit("system.backup.failed", {"message": "the disk is full"})

    `source` is who publishes, by default `system://HOST`, or for a type of the site its first word, `site://HOST`.
    `schemas` is a folder with the schemas of the site's own types. The outbox is made if it does not exist. ConfigError
    if a schema cannot be used.
    """

    def __init__(
        self,
        outbox: Path | str,
        *,
        source: str | None = None,
        schemas: Path | str | None = None,
        max_bytes: int = EVENT_MAX_BYTES,
        lock_wait_s: float = LOCK_WAIT_SECONDS,
    ) -> None:
        self._path = Path(outbox)
        self._source = source
        self._own: Schemas = {} if schemas is None else read_own_types(Path(schemas))
        self._max_bytes = max_bytes
        self._lock_wait_s = lock_wait_s
        self._outbox: Outbox | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the outbox; may be called again."""
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def emit(
        self,
        type_: str,
        data: Mapping[str, Any] | None = None,
        *,
        key: str | Sequence[str] | None = None,
        subject: str | None = None,
        words: Sequence[str] | None = None,
        time: float | None = None,
    ) -> str:
        """Store one event durably, wake the relay, and return the id.

        The same `key` of the same source and type makes the same id, and the event is stored once; without a key every
        call is an event of its own. `words` are the variable words of the routing key; `time` is in seconds since 1970.
        EventError if it cannot be an event, and EventBuriedError if it is too large to be sent; OutboxError if the
        outbox cannot be used.
        """
        event = make_event(
            type_,
            dict(data or {}),
            source=self._source,
            subject=subject,
            key=[key] if isinstance(key, str) else key,
            words=words,
            now=clock.time() if time is None else time,
            own=self._own,
        )
        try:
            row = self._store(event)
        except OutboxReplacedError:
            # A backup was restored, say. Nothing was stored in the former file, or its replacement lacks the event.
            self.close()
            row = self._store(event)
        if row["state"] == BURIED:
            raise EventBuriedError(f"the event {event.id} is buried: {row['reason']}")
        return event.id

    def _store(self, event: Event) -> dict[str, Any]:
        # Opened only now, so that what cannot be an event makes no outbox.
        if self._outbox is None:
            self._outbox = Outbox.open(self._path, lock_wait_s=self._lock_wait_s)
        self._outbox.append([event], max_bytes=self._max_bytes)
        return find(self._outbox, event.id)


def make_event(
    type_: str,
    data: dict[str, Any],
    *,
    source: str | None,
    subject: str | None,
    key: Sequence[str] | None,
    words: Sequence[str] | None,
    now: float,
    own: Schemas,
) -> Event:
    """Make the event, checked against the schema of its type; `own` are the types of the site."""
    full = own_type(own, type_)
    is_own = full is not None
    type_ = full or complete_type(type_)
    family, *rest = routing_words(type_)
    source = source or f"{family if is_own else 'system'}://{socket.gethostname()}"
    _check_source(type_, source, family)
    if is_own:
        check_own(own, type_, data)
    else:
        if family == "system":
            if rest[-1] != "heartbeat":
                # What is not known of the state of a service is null.
                data = {**dict.fromkeys(schema_for(type_)["properties"]), **data}
            subject = subject if subject is not None else rest[0]
        elif words is None and family == "hg" and isinstance(data.get("repo"), str):
            words = data["repo"].split("/")
        check(type_, data)
    return Event.of(
        type_,
        source=source,
        subject=subject,
        time=now,
        data=data,
        key=key or [str(uuid.uuid4())],
        words=words or (),
    )


def _check_source(type_: str, source: str, family: str) -> None:
    """Raise EventError for a source of ours that does not number events of this family.

    A consumer of a whole family of ours would see a hole in the numbers of that source.
    """
    scheme = source.partition("://")[0]
    if family not in FAMILIES.get(scheme, (family,)):
        raise EventError(
            f"a source {scheme}:// emits only its own events, and {type_} is not one; name a source of your own, such "
            f"as {family if family not in _FAMILIES_OF_OURS else 'my-tool'}://{socket.gethostname()}"
        )
