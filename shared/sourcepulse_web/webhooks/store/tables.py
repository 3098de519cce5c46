# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables of the hook store, by format."""

from __future__ import annotations

from sourcepulse.outbox.sqlite_file import FileKind
from sourcepulse_web.webhooks.errors import (
    HookStoreDamagedError,
    HookStoreLockedError,
    HookStoreRefusedError,
    HookStoreReplacedError,
)

#: "spwh" in ASCII; `file` and SQLite show it as the application id.
APPLICATION_ID = 0x73707768

# A hook keeps its number as long as it exists, and the number is not used again. `event`, `named` and `sent_as` of an
# attempt are hashes: of (source, id), of the id alone, and of the webhook id. `forgotten` has the hashes of withdrawn
# events, and of hidden bugs by source and number, so that an attempt that is recorded later is blanked as well. `hours`
# has what was delivered, by the hour and by how long the receiver took (see `pace.py`). `secrets.until` is NULL for the
# newest one.
_VERSION_1 = """
CREATE TABLE keeper (
    one INTEGER PRIMARY KEY CHECK (one = 1), seen_at REAL, ear TEXT NOT NULL, log TEXT NOT NULL,
    forgotten_until INTEGER NOT NULL, scrub INTEGER NOT NULL
);
INSERT INTO keeper VALUES (1, NULL, '', '', 0, 0);
CREATE TABLE hooks (
    hook INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    topics TEXT NOT NULL,
    owner TEXT NOT NULL,
    handshake TEXT NOT NULL,
    bearer_file TEXT NOT NULL,
    added_at REAL NOT NULL
);
CREATE TABLE secrets (
    number INTEGER PRIMARY KEY AUTOINCREMENT, hook INTEGER NOT NULL, secret TEXT NOT NULL, made_at REAL NOT NULL,
    until REAL
);
CREATE INDEX secrets_hook ON secrets (hook);
CREATE TABLE standings (
    hook INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    since REAL NOT NULL,
    failing_since REAL,
    last_success_at REAL,
    next_at REAL,
    delivered INTEGER NOT NULL,
    withheld INTEGER NOT NULL,
    interrupted_at REAL
);
CREATE TABLE consents (
    hook INTEGER PRIMARY KEY, url TEXT NOT NULL, granted INTEGER NOT NULL, asked_at REAL NOT NULL,
    rate TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE tests (
    number INTEGER PRIMARY KEY AUTOINCREMENT, hook INTEGER NOT NULL, asked_at REAL NOT NULL, attempt INTEGER
);
CREATE TABLE troubles (
    hook INTEGER NOT NULL, position INTEGER NOT NULL, tries INTEGER NOT NULL, first_at REAL NOT NULL,
    next_at REAL NOT NULL, status INTEGER, kind TEXT NOT NULL,
    PRIMARY KEY (hook, position)
) WITHOUT ROWID;
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hook INTEGER NOT NULL,
    at REAL NOT NULL,
    position INTEGER NOT NULL,
    webhook_id TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    tries INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    reason TEXT NOT NULL,
    took_s REAL NOT NULL,
    headers TEXT NOT NULL,
    excerpt TEXT NOT NULL,
    next_at REAL,
    event INTEGER NOT NULL,
    named INTEGER NOT NULL,
    sent_as INTEGER NOT NULL
);
CREATE INDEX attempts_hook ON attempts (hook, number);
CREATE INDEX attempts_event ON attempts (event, hook, number);
CREATE INDEX attempts_named ON attempts (named);
CREATE INDEX attempts_sent_as ON attempts (sent_as);
CREATE INDEX attempts_texts ON attempts (source) WHERE excerpt <> '' OR headers <> '';
CREATE TABLE forgotten (event INTEGER PRIMARY KEY, at REAL NOT NULL);
CREATE TABLE hours (
    hook INTEGER NOT NULL, hour INTEGER NOT NULL, step INTEGER NOT NULL, delivered INTEGER NOT NULL,
    PRIMARY KEY (hook, hour, step)
) WITHOUT ROWID
"""

# Consent is that of one sender: another name of this system asks again, and so does a consent of version 1.
_VERSION_2 = "ALTER TABLE consents ADD COLUMN origin TEXT NOT NULL DEFAULT ''"

#: What goes with a hook that is removed.
OF_A_HOOK = ("secrets", "standings", "consents", "tests", "troubles", "attempts", "hours", "hooks")

HOOK_STORE = FileKind(
    name="hook store",
    application_id=APPLICATION_ID,
    migrations=(_VERSION_1, _VERSION_2),
    locked=HookStoreLockedError,
    damaged=HookStoreDamagedError,
    unwritable=HookStoreRefusedError,
    repair="put back a copy of it from your backup; without one, move it aside together with the files of the same "
    "name that end in -wal, -shm and .lock, and add the webhooks again, each of which then has another secret",
    replaced=HookStoreReplacedError,
)
