# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Know the secrets that builds used, even after a crash: Buildbot forgets them, but stores texts that contain them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import note, set_notes
from sourcepulse_buildbot.live.build import text_of_secret
from sourcepulse_buildbot.mapping.redaction import Redactor

#: How long a provider is waited for; if it does not answer, recovery may publish texts that contain its secrets.
ANSWER_LIMIT_SECONDS = 10.0
NAMES_MOST = 1_000
_NAME = "buildbot secrets "

log = Logger("sourcepulse")


class UsedSecrets:
    """Teaches secrets to the redactor; `keep` is called with their names, never values, whenever there are new ones."""

    def __init__(self, master: Any, redactor: Redactor, *, keep: Callable[[list[str]], object]) -> None:
        self._master = master
        self._redactor = redactor
        self._keep = keep
        self._names: set[str] = set()

    def learn(self, used: Mapping[str, str]) -> None:
        """Learn the secrets of a running build: their names, in angle brackets, by value, as Buildbot has them."""
        self._redactor.learn(used)
        names = {name[1:-1] for name in used.values()}
        if not names <= self._names and len(self._names) < NAMES_MOST:
            self._names |= names
            self._keep(sorted(self._names))

    async def recall(self, names: Iterable[str]) -> None:
        """Read again from the master's providers the secrets of these names, which earlier builds used."""
        self._names |= set(names)
        manager = self._master.namedServices.get("secrets")
        if manager is None:
            return
        for name in sorted(self._names):
            try:
                found = await _in_time(manager.get(name), self._master.reactor)
            except Exception:  # noqa: BLE001 - providers are of any kind, and recovery continues
                log.warn("secret {name} cannot be read now, so recovered events may contain it", name=name)
            else:
                if found is not None and isinstance(found.value, str | bytes):
                    self._redactor.learn([text_of_secret(found.value)])


def read_names(outbox: Outbox, scope: str) -> list[str]:
    """Return the names of the secrets that were used so far."""
    with outbox.reading() as db:
        kept = note(db, _NAME + scope)
    return [] if kept is None else [str(name) for name in json.loads(kept)]


def write_names(outbox: Outbox, scope: str, names: list[str]) -> None:
    """Store the names for the next start."""
    with outbox.writing(durable=False) as db:
        set_notes(db, {_NAME + scope: json.dumps(names)})


def _in_time(answer: Any, reactor: Any) -> defer.Deferred[Any]:
    return defer.maybeDeferred(lambda: answer).addTimeout(ANSWER_LIMIT_SECONDS, reactor)
