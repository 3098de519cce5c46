# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The hook store: the hooks, their secrets and how they stand, in a file that only its owner can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Self

from sourcepulse.wake.send import send_wake
from sourcepulse_web.webhooks.errors import HookExistsError
from sourcepulse_web.webhooks.hook import Handshake, Hook, Standing, State, check_name
from sourcepulse_web.webhooks.store.attempts import TRIM_ROWS, Attempts
from sourcepulse_web.webhooks.store.file import REWRITE, StoreFile, number_of
from sourcepulse_web.webhooks.store.records import KeptConsent, Secret
from sourcepulse_web.webhooks.store.tables import OF_A_HOOK
from sourcepulse_web.webhooks.store.tests import Tests
from sourcepulse_web.webhooks.store.troubles import Troubles

_HOOK = "name, url, topics, owner, handshake, bearer_file"
_STANDING = "state, reason, since, failing_since, last_success_at, next_at, delivered, withheld, interrupted_at"


class HookStore:
    """The hooks of one gateway. Any thread may call it; each method raises HookStoreError if the file is of no use.

    UnknownHookError where a method names a hook that is not there, except from `hook` and `remove`.

        with HookStore(Path("/var/lib/sourcepulse-web/webhooks.db")) as store:
            store.add(hook, secret, now=time.time())
            store.update_standing("chat-room", lambda was: replace(was, state=State.PAUSED))
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the file; NothingThereError if it is missing and not to be created."""
        self._file = StoreFile(path, create=create)
        self.path = path
        self.batch = self._file.batch
        self.data_version = self._file.data_version
        self.problems = self._file.problems
        #: The POSTs of the last week and their answers.
        self.attempts = Attempts(self._file)
        #: What is tried again, and when.
        self.troubles = Troubles(self._file)
        #: The tests that owners asked for.
        self._tests = Tests(self._file)
        self.tests = self._tests.asked
        self.end_test = self._tests.end
        self.drop_test = self._tests.drop
        self.test_result = self._tests.result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()

    def hooks(self) -> list[Hook]:
        """Return the hooks by name."""
        with self._file.read() as db:
            return [_hook(row) for row in db.execute(f"SELECT {_HOOK} FROM hooks ORDER BY name")]  # noqa: S608

    def hook(self, name: str) -> Hook | None:
        """Return a hook, None if there is none of this name."""
        with self._file.read() as db:
            row = db.execute(f"SELECT {_HOOK} FROM hooks WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return None if row is None else _hook(row)

    def added_at(self, name: str) -> float:
        """Return when a hook was added."""
        with self._file.read() as db:
            row = db.execute("SELECT added_at FROM hooks WHERE hook = ?", (number_of(db, name),)).fetchone()
        return float(row[0])

    def add(
        self, hook: Hook, secret: str, now: float, *, check: Callable[[Sequence[Hook]], None] | None = None
    ) -> None:
        """Add a hook with its first secret; HookExistsError if the name is in use.

        `check` gets the hooks before it in the same transaction, so that two calls at once see each other; what it
        raises passes through, and nothing is added.
        """
        check_name(hook.name)
        with self._file.write() as db:
            if check is not None:
                check(self.hooks())
            if db.execute("SELECT 1 FROM hooks WHERE name = ?", (hook.name,)).fetchone():
                raise HookExistsError(f"there is a webhook {hook.name!r} already; choose another name")
            row = db.execute(
                f"INSERT INTO hooks ({_HOOK}, added_at) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING hook",  # noqa: S608
                (*_columns(hook), now),
            ).fetchone()
            db.execute("INSERT INTO secrets (hook, secret, made_at) VALUES (?, ?, ?)", (row[0], secret, now))
            _write_standing(db, row[0], Standing(since=now))
        self.wake_sender()

    def change(self, hook: Hook, *, check: Callable[[Sequence[Hook]], None] | None = None) -> None:
        """Write the settings of a hook that is there; at another address the former consent is void.

        `check` gets the other hooks, as in `add`.
        """
        with self._file.write() as db:
            number = number_of(db, hook.name)
            if check is not None:
                check([each for each in self.hooks() if each.name != hook.name])
            db.execute(
                "UPDATE hooks SET url = ?, topics = ?, owner = ?, handshake = ?, bearer_file = ? WHERE hook = ?",
                (*_columns(hook)[1:], number),
            )
            db.execute("DELETE FROM consents WHERE hook = ? AND url <> ?", (number, hook.url))
        self.wake_sender()

    def remove(self, name: str) -> bool:
        """Remove a hook with all that is kept of it, and return whether there was one."""
        with self._file.write() as db:
            row = db.execute("SELECT hook FROM hooks WHERE name = ?", (name,)).fetchone()
            if row is not None:
                for table in OF_A_HOOK:
                    db.execute(f"DELETE FROM {table} WHERE hook = ?", row)  # noqa: S608 - names of ours
                db.execute("UPDATE keeper SET scrub = ?", (REWRITE,))
        self._file.scrub_if_due(rewrites=True)
        self.wake_sender()
        return row is not None

    def secrets(self, name: str) -> list[Secret]:
        """Return the secrets of a hook, the newest first; those that ended may be among them until `trim`."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT secret, made_at, until FROM secrets WHERE hook = ? ORDER BY number DESC", (number_of(db, name),)
            ).fetchall()
        return [Secret(*row) for row in rows]

    def rotate(self, name: str, secret: str, old_until: float, now: float) -> None:
        """Replace the secret; the former one signs as well until `old_until`, and is removed if that is not later."""
        with self._file.write() as db:
            number = number_of(db, name)
            db.execute("UPDATE secrets SET until = min(coalesce(until, ?1), ?1) WHERE hook = ?2", (old_until, number))
            db.execute("INSERT INTO secrets (hook, secret, made_at) VALUES (?, ?, ?)", (number, secret, now))
            _drop_ended(db, now)
        self._file.scrub_if_due()
        self.wake_sender()

    def standing(self, name: str) -> Standing:
        """Return how a hook stands."""
        with self._file.read() as db:
            return _standing(db, number_of(db, name))

    def standings(self) -> dict[str, Standing]:
        """Return how each hook stands, by name."""
        with self._file.read() as db:
            rows = db.execute(f"SELECT name, {_STANDING} FROM standings JOIN hooks USING (hook)").fetchall()  # noqa: S608
        return {row[0]: _standing_of(row[1:]) for row in rows}

    def set_standing(self, name: str, standing: Standing) -> None:
        """Write how a hook stands; where it depends on how it stood, `update_standing` loses no change of others."""
        self.update_standing(name, lambda _: standing)

    def update_standing(self, name: str, change: Callable[[Standing], Standing]) -> Standing:
        """Change how a hook stands, in one transaction, and return it."""
        with self._file.write(durable=False) as db:
            number = number_of(db, name)
            was = _standing(db, number)
            standing = change(was)
            if standing != was:
                _write_standing(db, number, standing)
        return standing

    def consent(self, name: str) -> KeptConsent | None:
        """Return what the receiver answered when it was last asked at its present address; None if it was not."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT url, granted, asked_at, rate, reason, origin FROM consents WHERE hook = ?",
                (number_of(db, name),),
            ).fetchone()
        return None if row is None else KeptConsent(row[0], bool(row[1]), *row[2:])

    def set_consent(self, name: str, consent: KeptConsent) -> None:
        """Keep what the receiver answered."""
        with self._file.write(durable=False) as db:
            db.execute("INSERT OR REPLACE INTO consents VALUES (?, ?, ?, ?, ?, ?, ?)", (number_of(db, name), *consent))

    def ask_test(self, name: str, now: float, *, check: Callable[[], None] = lambda: None) -> int:
        """Ask the sender for a test event, and return the number of the test.

        What `check` raises in the same transaction passes through, and nothing is asked for.
        """
        with self._file.batch():
            check()
            number = self._tests.ask(name, now)
        self.wake_sender()
        return number

    def note_interruption(self, now: float) -> None:
        """Record for each hook that events may be missing, because the log was replaced."""
        with self._file.write(durable=False) as db:
            db.execute("UPDATE standings SET interrupted_at = ?", (now,))

    def forgotten_until(self) -> tuple[str, int]:
        """Return the token of the log, and the position up to which its withdrawals were obeyed here."""
        with self._file.read() as db:
            token, until = db.execute("SELECT log, forgotten_until FROM keeper").fetchone()
        return token, until

    def set_forgotten_until(self, token: str, until: int) -> None:
        """Record it."""
        with self._file.write(durable=False) as db:
            db.execute("UPDATE keeper SET log = ?, forgotten_until = ?", (token, until))

    def touch_sender(self, now: float, ear: str = "") -> None:
        """Record that the sender is at work, and the socket on which it is woken; about once a second."""
        with self._file.write(durable=False) as db:
            db.execute("UPDATE keeper SET seen_at = ?, ear = ?", (now, ear))

    def note_sender_ended(self) -> None:
        """Record that the sender is not at work any more, so that nothing is asked of it in vain."""
        with self._file.write(durable=False) as db:
            db.execute("UPDATE keeper SET seen_at = NULL")

    def sender_seen_at(self) -> float | None:
        """Return when the sender was last at work; None if it never was, or has ended."""
        with self._file.read() as db:
            (at,) = db.execute("SELECT seen_at FROM keeper").fetchone()
        return None if at is None else float(at)

    def wake_sender(self) -> None:
        """Wake the sender, so that it looks at the store now; it looks by itself as well."""
        with self._file.read() as db:
            (ear,) = db.execute("SELECT ear FROM keeper").fetchone()
        if ear:
            send_wake(ear)

    def scrub(self) -> None:
        """Empty the write-ahead log of what was removed, if a removal could not, or was killed; waits for no reader."""
        self._file.scrub_if_due(wait_s=0.0)

    def trim(self, now: float) -> bool:
        """Remove what is not kept any longer, a little with each call: attempts, tests, secrets that ended.

        Returns whether the next call may find more at once.
        """
        with self._file.write(durable=False) as db:
            _drop_ended(db, now)
        self._tests.trim(now)
        removed = self.attempts.trim(now)
        self._file.scrub_if_due(rewrites=True)
        return removed >= TRIM_ROWS


def _drop_ended(db: Connection, now: float) -> None:
    if db.execute("DELETE FROM secrets WHERE until <= ?", (now,)).rowcount:
        db.execute("UPDATE keeper SET scrub = max(scrub, 1)")


def _columns(hook: Hook) -> tuple[str, str, str, str, str, str]:
    return hook.name, hook.url, json.dumps(hook.topics), hook.owner, hook.handshake.value, hook.bearer_file


def _hook(row: tuple[str, str, str, str, str, str]) -> Hook:
    name, url, topics, owner, handshake, bearer_file = row
    return Hook(
        name=name, url=url, topics=tuple(json.loads(topics)), owner=owner, handshake=Handshake(handshake),
        bearer_file=bearer_file,
    )  # fmt: skip


def _standing(db: Connection, number: int) -> Standing:
    row = db.execute(f"SELECT {_STANDING} FROM standings WHERE hook = ?", (number,)).fetchone()  # noqa: S608
    return _standing_of(row)


def _standing_of(
    row: tuple[str, str, float, float | None, float | None, float | None, int, int, float | None],
) -> Standing:
    state, reason, since, failing_since, last_success_at, next_at, delivered, withheld, interrupted_at = row
    return Standing(
        state=State(state), reason=reason, since=since, failing_since=failing_since, last_success_at=last_success_at,
        next_at=next_at, delivered=delivered, withheld=withheld, interrupted_at=interrupted_at,
    )  # fmt: skip


def _write_standing(db: Connection, number: int, standing: Standing) -> None:
    db.execute(
        f"INSERT OR REPLACE INTO standings (hook, {_STANDING}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (number, standing.state.value, standing.reason, standing.since, standing.failing_since,
         standing.last_success_at, standing.next_at, standing.delivered, standing.withheld, standing.interrupted_at),
    )  # fmt: skip
