# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A folder that looks like a Bugzilla to the sidecar, with a drain.pl that fails on request."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sourcepulse_bugzilla.perl.child import Child
from sourcepulse_bugzilla.perl.requests import SCRIPT, Drainer, command_for
from support.bugzilla.rows import ID_SECRET, SITE
from support.component import require

#: What drain.pl of the tests needs besides what comes with Perl.
_MODULE = "DBD::SQLite"

_SCRIPT = Path(__file__).with_name("drain_standin.pl")


def require_perl() -> None:
    """Skip, or fail in CI, where Perl or its SQLite is missing."""
    require(shutil.which("perl") is not None, "perl is not installed")
    tried = subprocess.run(["perl", f"-M{_MODULE}", "-e1"], capture_output=True, check=False, timeout=30)
    require(tried.returncode == 0, f"the Perl module {_MODULE} is not installed")


class StandIn:
    """The folder, with what is in its table and what its drain.pl is to say."""

    def __init__(self, folder: Path, **hello: Any) -> None:
        require_perl()
        self.folder = folder
        (folder / SCRIPT).parent.mkdir(parents=True)
        (folder / "Bugzilla.pm").touch()
        shutil.copy(_SCRIPT, folder / SCRIPT)
        self.socket = folder / "sourcepulse.sock"
        self.say("hello.json", {
            "protocol": 2,
            "site": SITE,
            "secret": ID_SECRET,
            "bugzilla": "5.2",
            "database": "sqlite",
            "socket": str(self.socket),
            "group": None,
            "enabled": True,
            "restricted": False,
            "requirelogin": False,
        } | hello)  # fmt: skip
        with closing(self._table()) as table:
            table.execute(
                "CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, created_ts TEXT, kind TEXT, bug_id INTEGER, "
                "payload TEXT, reason TEXT)"
            )

    def say(self, name: str, value: Any) -> None:
        """Set what the next answers contain.

        `pages.json`, `missed`, `silent`, `fault`, `shutdown`; `verdicts.json` has verdicts by type and number, by type
        or `*` (without one an event may be sent), `check.json` a whole answer to `check`.
        """
        text = value if isinstance(value, str) else json.dumps(value)
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.replace(self.folder / name)

    def add(self, *rows: dict[str, Any]) -> list[int]:
        """Write rows as Bugzilla does, in one transaction, and give their ids."""
        ids = []
        with closing(self._table()) as table, table:
            for row in rows:
                cursor = table.execute(
                    "INSERT INTO rows (created_ts, kind, bug_id, payload) VALUES (?, ?, ?, ?)",
                    (row["created_ts"], row["kind"], row["bug_id"], row["payload"]),
                )
                ids.append(cursor.lastrowid or 0)
        return ids

    def rows(self) -> list[tuple[int, str | None]]:
        """Return what is in the table: ids, with the reason of those that are buried."""
        with closing(self._table()) as table:
            return table.execute("SELECT id, reason FROM rows ORDER BY id").fetchall()

    def asked(self) -> Sequence[str]:
        """Return all requests that came so far."""
        asked = self.folder / "asked"
        return asked.read_text().split() if asked.exists() else ()

    def checked(self) -> list[dict[str, Any]]:
        """Return the events of all `check` requests so far."""
        checked = self.folder / "checked"
        lines = checked.read_text().splitlines() if checked.exists() else []
        return [event for line in lines for event in json.loads(line)]

    def child(self, **limits: Any) -> Child:
        """Start its drain.pl."""
        return Child(command_for(self.folder), **limits)

    def drainer(self, **limits: Any) -> Drainer:
        """Start its drain.pl and take the lock."""
        drainer = Drainer(self.child(**limits))
        drainer.lock()
        return drainer

    def _table(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "rows.db", timeout=10)
