# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events leave an outbox as lines of JSON and come into another one with every byte, number and state."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sourcepulse.catalogue import schema_for
from sourcepulse.errors import EventError
from sourcepulse.operations.copies.load import plan_import, run_import
from sourcepulse.outbox import queries
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Outbox
from sourcepulse.outbox.queries import Selection
from sourcepulse.outbox.repair import problems
from sourcepulse.outbox.retention import DAY_SECONDS, Keep, prune
from sourcepulse.testing import system_event
from support.in_process import Ran, run_command

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "source.db") as outbox:
        outbox.append([system_event(number, message="\u00fc\u2028 \\ \x07" * number) for number in range(1, 5)])
        outbox.append([system_event(number, source="system://test?restricted") for number in range(2)])
        outbox.acknowledge("public", [1, 2])
        outbox.bury(3, "why not")
        with outbox.writing() as db:
            db.execute("UPDATE events SET settled_at = ? WHERE position = 1", (outbox.now() - 2 * DAY_SECONDS,))
        # The payload of the first has expired, its id is kept.
        prune(outbox, Keep(days=1, bytes=2**30))
        yield outbox


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "target.db") as outbox:
        yield outbox


def run(outbox: Outbox, action: str, *arguments: str) -> Ran:
    return run_command("outbox", action, *arguments, "--outbox", str(outbox.path))


def everything(outbox: Outbox) -> list[dict[str, Any]]:
    found = []
    for row in queries.rows(outbox, Selection()):
        body = None if row["bytes"] is None else queries.body(outbox, row["position"])
        found.append({key: value for key, value in row.items() if key != "position"} | {"body": body})
    return found


def exported(outbox: Outbox, *arguments: str) -> list[str]:
    ran = run(outbox, "export", *arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def import_lines(outbox: Outbox, lines: list[str]) -> int:
    file = io.BytesIO("".join(line + "\n" for line in lines).encode())
    return run_import(outbox, file, plan_import(outbox, file))


def test_every_event_is_a_line_with_its_bytes(source: Outbox) -> None:
    lines = [json.loads(line) for line in exported(source)]
    for line in lines:
        jsonschema.validate(line, schema_for("outbox-export.v1"))
    assert [(line["state"], line["sequence"], line["stream"]) for line in lines] == [
        ("delivered", 1, "public"),
        ("delivered", 2, "public"),
        ("buried", 3, "public"),
        ("pending", 4, "public"),
        ("pending", 1, "restricted"),
        ("pending", 2, "restricted"),
    ]
    assert [line["body"] and line["body"].encode() for line in lines] == [row["body"] for row in everything(source)]
    assert lines[0]["body"] is None
    assert [json.loads(line)["sequence"] for line in exported(source, "--state", "buried")] == [3]
    assert len(exported(source, "--source", "system://test?restricted")) == 2


def test_an_import_is_shown_first_and_keeps_everything(source: Outbox, target: Outbox, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert run(source, "export", str(lines)).stdout == f"{lines} has 6 events\n"
    assert lines.stat().st_mode & 0o777 == 0o600
    assert "exists" in run(source, "export", str(lines)).stderr
    shown = run(target, "import", str(lines))
    assert shown.stdout == "events that would be stored: 1 buried, 2 delivered, 3 pending; there already: 0\n"
    assert everything(target) == []
    done = run(target, "import", str(lines), "--apply", "--json")
    assert json.loads(done.stdout) == {"new": {"buried": 1, "delivered": 2, "pending": 3}, "known": 0, "stored": 6}
    assert everything(target) == everything(source)
    assert problems(target) == []
    again = run(target, "import", str(lines), "--apply")
    assert again.stdout == "events that were stored: none; there already: 6\n"
    assert everything(target) == everything(source)


def test_what_was_withheld_stays_withheld(source: Outbox, target: Outbox) -> None:
    row = queries.find(source, "4")
    stand_in = json.loads(queries.body(source, 4))
    stand_in |= {"type": WITHHELD_TYPE, "data": {"type": row["type"]}, "dataschema": "urn:sourcepulse:" + WITHHELD_TYPE}
    body = json.dumps(stand_in, separators=(",", ":"), ensure_ascii=False).encode()
    source.withhold(4, body, row["subject"], routing_key=row["routing_key"])
    assert import_lines(target, exported(source)) == 6
    assert everything(target) == everything(source)
    assert everything(target)[3]["type"] == WITHHELD_TYPE


def test_the_outbox_goes_on_counting_in_its_own_epoch(source: Outbox, target: Outbox) -> None:
    target.append([system_event(70)])
    import_lines(target, exported(source))
    target.append([system_event(71)])
    own = [row for row in everything(target) if row["id"] in (system_event(70).id, system_event(71).id)]
    assert [row["sequence"] for row in own] == [1, 2]
    assert problems(target) == []


def test_an_outbox_that_is_not_there_is_made_only_by_an_import_that_is_applied(source: Outbox, tmp_path: Path) -> None:
    lines, path = tmp_path / "lines", tmp_path / "new.db"
    run(source, "export", str(lines))
    assert "3 pending" in run_command("outbox", "import", str(lines), "--outbox", str(path)).stdout
    assert not path.exists()
    assert run_command("outbox", "import", str(lines), "--apply", "--outbox", str(path)).returncode == 0
    with Outbox.open(path, create=False) as made:
        assert everything(made) == everything(source)


def change(**members: object) -> Change:
    return lambda row: row.update(members)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda row: row.pop("epoch"), "lacks epoch"),
        (change(surprise=1), "has 'surprise'"),
        (change(stream="restricted"), "belongs to the stream public"),
        (change(sequence=7), "its epoch or a number is not that of its body"),
        (change(sequence=0), "sequence is not a number"),
        (change(id="another"), "its id is not that of its body"),
        (change(state="sent"), "state is none of"),
        (change(body=None), "a buried event has a body"),
        (change(body="{}"), "is not a line of"),
        (change(routing_key="hg.push"), "is not a line of"),
        (change(stored_at="yesterday"), "is not a line of"),
        (change(subject=7), "subject is not a text"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_nothing_is_imported(
    source: Outbox, target: Outbox, wrong: Change, said: str
) -> None:
    lines = exported(source)
    row = json.loads(lines[2])
    wrong(row)
    lines[2] = json.dumps(row)
    with pytest.raises(EventError, match=rf"line 3 .*{said}.*nothing was imported"):
        import_lines(target, lines)
    assert everything(target) == []


@pytest.mark.parametrize("line", ["", "[]", "no JSON", '{"id": "1"}', "[" * 100_000])
def test_a_line_that_is_none_is_named(target: Outbox, line: str) -> None:
    with pytest.raises(EventError, match="line 1 "):
        import_lines(target, [line])


def test_a_line_that_is_cut_off_is_named(source: Outbox, target: Outbox) -> None:
    whole = "".join(line + "\n" for line in exported(source))
    with pytest.raises(EventError, match=r"line 6 .*cut off"):
        plan_import(target, io.BytesIO(whole[:-1].encode()))


def test_a_number_that_another_event_has_is_refused(source: Outbox, target: Outbox) -> None:
    lines = exported(source, "--state", "pending")
    import_lines(target, lines)
    row = json.loads(lines[0])
    row["id"] = "another"
    row["body"] = row["body"].replace(json.loads(lines[0])["id"], "another")
    with pytest.raises(EventError, match=r"the number 4 of system://test .* belongs to another event of this outbox"):
        import_lines(target, [json.dumps(row)])
    with pytest.raises(EventError, match="line 3 has the id or the number of an earlier line"):
        import_lines(target, [*exported(source)[:2], json.dumps(row), lines[0]][1:])
    assert len(everything(target)) == 3


def test_a_number_that_the_outbox_will_assign_is_refused_and_one_that_expired_is_not(source: Outbox) -> None:
    lines = exported(source)
    with source.writing() as db:
        db.execute("DELETE FROM bodies WHERE position IN (1, 4)")
        db.execute("DELETE FROM events WHERE position IN (1, 4)")
    # The first number was assigned, so it is free for the event that had it.
    assert import_lines(source, lines) == 2
    assert [row["sequence"] for row in everything(source)] == [2, 3, 1, 2, 1, 4]
    with source.writing() as db:
        db.execute("DELETE FROM bodies WHERE position = 8")
        db.execute("DELETE FROM events WHERE position = 8")
        db.execute("UPDATE numbers SET last = 3 WHERE source = 'system://test'")
    with pytest.raises(EventError, match=r"the number 4 of system://test .* will be assigned by this outbox"):
        import_lines(source, lines)


def test_an_import_that_died_continues_when_it_is_run_again(
    target: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse.operations.copies.load.STEP_EVENTS", 10)
    with Outbox.open(tmp_path / "large.db") as large:
        large.append([system_event(number) for number in range(45)])
        file = io.BytesIO("".join(line + "\n" for line in exported(large)).encode())
        plan = plan_import(target, file)

        def die(done: int, total: int) -> None:
            assert total == 45
            if done == 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_import(target, file, plan, progress=die)
        assert len(everything(target)) == 20
        file.seek(0)
        plan = plan_import(target, file)
        assert (plan.count, plan.known) == (25, 20)
        assert run_import(target, file, plan) == 25
        assert everything(target) == everything(large)
