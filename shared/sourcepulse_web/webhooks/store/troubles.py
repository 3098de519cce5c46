# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is tried again: by hook and position in the log, kept over a kill of the sender."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sourcepulse_web.webhooks.store.file import StoreFile, known_number, number_of
from sourcepulse_web.webhooks.store.records import Trouble


class Troubles:
    """The events that were not accepted yet.

    >>> store.troubles.put("chat-room", {17: Trouble(2, now - 5, now + 300, 503, "retry")})
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def of(self, name: str) -> dict[int, Trouble]:
        """Return the troubles of a hook by position, lowest first."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT position, tries, first_at, next_at, status, kind FROM troubles WHERE hook = ? "
                "ORDER BY position",
                (number_of(db, name),),
            ).fetchall()
        return {row[0]: Trouble(*row[1:]) for row in rows}

    def all(self) -> dict[str, dict[int, Trouble]]:
        """Return the troubles of all hooks that have some."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT name, position, tries, first_at, next_at, status, kind FROM troubles JOIN hooks USING (hook) "
                "ORDER BY name, position"
            ).fetchall()
        found: dict[str, dict[int, Trouble]] = {}
        for name, position, *others in rows:
            found.setdefault(name, {})[position] = Trouble(*others)
        return found

    def put(self, name: str, troubles: Mapping[int, Trouble]) -> None:
        """Write troubles by position, in place of former ones there; nothing for a hook that was removed meanwhile."""
        with self._file.write(durable=False) as db:
            hook = known_number(db, name)
            if hook is None:
                return
            db.executemany(
                "INSERT OR REPLACE INTO troubles VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(hook, position, *trouble) for position, trouble in troubles.items()],
            )

    def remove(self, name: str, positions: Iterable[int]) -> None:
        """Remove the troubles at these positions; there may be none, nor the hook."""
        with self._file.write(durable=False) as db:
            hook = known_number(db, name)
            db.executemany(
                "DELETE FROM troubles WHERE hook = ? AND position = ?", [(hook, position) for position in positions]
            )

    def clear_events(self) -> None:
        """Remove the troubles of events of all hooks, and keep those of the hooks: the log is another one."""
        with self._file.write(durable=False) as db:
            db.execute("DELETE FROM troubles WHERE position > 0")

    def clear(self, name: str) -> None:
        """Remove all troubles of a hook."""
        with self._file.write(durable=False) as db:
            db.execute("DELETE FROM troubles WHERE hook = ?", (known_number(db, name),))

    def make_due(self, name: str, now: float, ended: Collection[int]) -> None:
        """End the waits of the events of a hook, and the troubles at `ended`.

        How often and since when each event was refused stays.
        """
        self.remove(name, ended)
        with self._file.write(durable=False) as db:
            db.execute(
                "UPDATE troubles SET next_at = min(next_at, ?) WHERE hook = ? AND position > 0",
                (now, known_number(db, name)),
            )
