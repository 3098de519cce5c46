# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Record what an earlier version leaves: `python tests/upgrade/record.py`, in a checkout with its history.

It writes the files in `recorded/`: an outbox, a consumer's memory and an embedded log as SQL, the first copy of a push,
and messages as a broker gets them. The tests read only these, so a clone without history has them too.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.old_version import OldVersion, take_out

RECORDED = Path(__file__).with_name("recorded")
#: Stands in the files for the folder in which they were.
FOLDER = "@FOLDER@"
SOURCE = "hg://hg.example.org/repo"

#: The consumer of the earlier version handles three events and leaves the rest.
_CONSUMER = """
import sys
from sourcepulse import Consumer
with Consumer(sys.argv[1], topics=["hg.#"], queue="reader", durable=True, state=sys.argv[2]) as consumer:
    for number in range(int(sys.argv[3])):
        assert consumer.receive(10) is not None
        consumer.acknowledge()
"""


def record(old: OldVersion, folder: Path) -> None:
    """Run the earlier version, and write down what it leaves."""
    outbox, log, state = folder / "outbox.db", folder / "log.db", folder / "state.db"
    repository = folder / "repo"
    hgrc = folder / "hgrc"
    settings = f"[extensions]\nsourcepulse_hg =\n[sourcepulse]\nsource = {SOURCE}\nrepository = repo\noutbox = "
    hgrc.write_text(f"{settings}{outbox}\n")

    def hg(*arguments: str) -> None:
        old.run("hg", "--cwd", repository, *arguments, HGRCPATH=str(hgrc), HGENCODING="utf-8")

    old.run("hg", "init", repository, HGRCPATH=str(hgrc))
    old.python(_CONSUMER, f"file://{log}", state, "0")
    for name in ("first", "sécond"):
        (repository / "file").write_text(name)
        hg("commit", "-qAm", name, "-u", "alice", "-d", "1795345170 0")
    old.sourcepulse("relay", "--once", "--outbox", outbox, "--broker", f"file://{log}")
    old.python(_CONSUMER, f"file://{log}", state, "3")
    (repository / "file").write_text("third")
    hg("commit", "-qm", "third", "-u", "bob", "-d", "1795345180 0")
    # The outbox is missing for the last push, so that its first copy stays.
    hgrc.write_text(f"{settings}{folder}/missing/outbox.db\n")
    (repository / "file").write_text("fourth")
    hg("commit", "-qm", "fourth", "-u", "bob", "-d", "1795345190 0")
    RECORDED.mkdir(exist_ok=True)
    for path in (outbox, log, state):
        with closing(sqlite3.connect(path)) as db:
            header = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")}
            lines = [*(f"PRAGMA {name} = {value};" for name, value in header.items()), *db.iterdump()]
            text = "\n".join(lines).replace(str(folder), FOLDER)
            (RECORDED / f"{path.stem}.sql").write_text(f"{text}\n", encoding="utf-8")
    (first_copy,) = (repository / ".hg" / "sourcepulse").glob("r-*")
    (RECORDED / "first-copy.jsonl").write_bytes(first_copy.read_bytes())
    with closing(sqlite3.connect(outbox)) as db:
        rows = db.execute("SELECT routing_key, body FROM events JOIN bodies USING (position) ORDER BY position")
        (RECORDED / "wire.jsonl").write_text(
            "".join(json.dumps([key, body.decode()]) + "\n" for key, body in rows), encoding="utf-8"
        )


if __name__ == "__main__":
    with TemporaryDirectory() as version, TemporaryDirectory() as work:
        record(take_out(Path(version)), Path(work))
