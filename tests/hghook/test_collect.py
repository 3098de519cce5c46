# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The collector decides by the journal, keeps the order, and removes a file only when its events are durable."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse.errors import NothingThereError, OutboxWriteError
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.collect import CollectReport, collectors
from sourcepulse_hg.pending.collect import BATCH_FILES, collect_repository
from sourcepulse_hg.pending.first_copy import (
    DamagedError,
    FirstCopy,
    Identity,
    base_name,
    decode_copy,
    encode_copy,
    next_counter,
)
from support.events.outbox_contents import outbox_events


def _event(txnid: str) -> Event:
    return Event.of(
        "system.test.up.v1",
        source="hg://host/repo",
        key=[txnid],
        subject="repo",
        time=1_700_000_000.25,
        data={"message": txnid, "until": None, "url": None, "figures": None},
        words=["repo"],
    )


class _Repository:
    """What the collector sees of a repository: files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dot_hg = path / ".hg"
        self.pending = self.dot_hg / "store" / "sourcepulse"
        self.ready = self.dot_hg / "sourcepulse"
        self.pending.mkdir(parents=True)
        self.ready.mkdir()
        (self.dot_hg / "requires").write_text("share-safe\n", encoding="utf-8")

    def write(self, counter: int, *, ready: bool = True, events: list[Event] | None = None) -> Path:
        """Write the first copy of a transaction; its id is its counter."""
        txnid = f"TXN:{counter:040x}"
        identity = Identity.of(self.dot_hg)
        copy = FirstCopy(counter, txnid, identity, 1_700_000_000.0, [_event(txnid)] if events is None else events)
        folder = self.ready if ready else self.pending
        path = folder / ("pr"[ready] + base_name(counter, txnid))
        path.write_bytes(encode_copy(copy))
        return path

    def journal(self, *named: Path) -> None:
        """Make an open transaction whose journal names these files."""
        store = self.dot_hg / "store"
        (store / "journal").touch()
        lines = "".join(f"\0sourcepulse/{path.name}\0\0000\n" for path in named)
        (store / "journal.backupfiles").write_text("2\n\0phaseroots\0journal.backup.phaseroots.bck\0000\n" + lines)


@pytest.fixture
def repository(tmp_path: Path) -> _Repository:
    return _Repository(tmp_path / "repo")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def _collect(location: Path, box: Path, deadline_s: float = 10.0) -> CollectReport:
    with Outbox.open(box) as outbox:
        return collect_repository(str(location), outbox, deadline_s=deadline_s)


def _notes(box: Path) -> list[int]:
    return [int(str(event.data["message"]).removeprefix("TXN:"), 16) for event in outbox_events(box)]


def test_the_core_finds_the_collector(repository: _Repository, box: Path) -> None:
    repository.write(1)
    with Outbox.open(box) as outbox:
        report = collectors()["hg"](str(repository.path), outbox, deadline_s=1.0)
        assert report == CollectReport(collected=1)
        assert [(origin.kind, origin.location) for origin in outbox.origins()] == [("hg", str(repository.dot_hg))]


def test_pending_and_ready_ones_go_in_the_order_of_their_transactions(repository: _Repository, box: Path) -> None:
    files = [repository.write(2), repository.write(1, ready=False), repository.write(3, ready=False)]
    assert _collect(repository.path, box) == CollectReport(collected=3)
    assert _notes(box) == [1, 2, 3]
    assert not any(path.exists() for path in files)


def test_what_the_journal_names_waits_and_everything_after_it(repository: _Repository, box: Path) -> None:
    repository.write(1)
    undecided = repository.write(2, ready=False)
    later = repository.write(3)
    repository.journal(undecided)
    assert _collect(repository.path, box) == CollectReport(collected=1, undecided=1, left=1)
    assert undecided.exists()
    assert later.exists()
    # The commit takes the journal away.
    (repository.dot_hg / "store" / "journal").unlink()
    assert _collect(repository.path, box) == CollectReport(collected=2)
    assert _notes(box) == [1, 2, 3]


def test_the_journal_of_a_later_transaction_leaves_earlier_ones_committed(repository: _Repository, box: Path) -> None:
    repository.write(1, ready=False)
    repository.journal(repository.write(2, ready=False))
    assert _collect(repository.path, box) == CollectReport(collected=1, undecided=1)


def test_a_repeat_after_a_crash_of_the_collector_is_one_event(repository: _Repository, box: Path) -> None:
    repository.write(1)
    _collect(repository.path, box)
    repository.write(1)
    assert _collect(repository.path, box) == CollectReport(repeats=1)
    assert _notes(box) == [1]


def test_files_of_an_unreachable_outbox_stay(repository: _Repository, box: Path) -> None:
    path = repository.write(1)
    with Outbox.open(box) as outbox:
        outbox.close()
        with pytest.raises(OutboxWriteError):
            collect_repository(str(repository.path), outbox, deadline_s=1.0)
    assert path.exists()


def test_no_time_leaves_everything_and_counts_it(repository: _Repository, box: Path) -> None:
    for counter in range(3):
        repository.write(counter + 1)
    assert _collect(repository.path, box, deadline_s=0.0) == CollectReport(left=3)
    assert _notes(box) == []


def test_more_than_a_batch_is_collected_in_order(repository: _Repository, box: Path) -> None:
    for counter in range(BATCH_FILES + 5):
        repository.write(counter + 1)
    assert _collect(repository.path, box).collected == BATCH_FILES + 5
    assert _notes(box) == list(range(1, BATCH_FILES + 6))


def test_a_first_copy_of_another_directory_is_named_and_never_announced(repository: _Repository, box: Path) -> None:
    path = repository.write(1)
    path.write_bytes(path.read_bytes().replace(b'"inode":', b'"inode":1'))
    own = repository.write(2)
    assert _collect(repository.path, box) == CollectReport(collected=1, quarantined=(str(path),))
    assert path.exists()
    assert not own.exists()
    assert _notes(box) == [2]


def test_another_device_number_is_a_reboot(repository: _Repository, box: Path) -> None:
    path = repository.write(1)
    path.write_bytes(path.read_bytes().replace(b'"device":', b'"device":9'))
    assert _collect(repository.path, box) == CollectReport(collected=1)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"{}\n", b"nonsense\n", b'{"sourcepulse":2}\n', b"[]\n", b"\xff\n", b'{"a":1}']
)
def test_a_damaged_one_is_set_aside_under_a_clear_name(repository: _Repository, box: Path, content: bytes) -> None:
    path = repository.write(1)
    path.write_bytes(content)
    repository.write(2)
    aside = repository.ready / f"damaged-{path.name}"
    assert _collect(repository.path, box) == CollectReport(collected=1, quarantined=(str(aside),))
    assert aside.read_bytes() == content
    assert _collect(repository.path, box) == CollectReport()


def test_one_that_cannot_be_sent_does_not_hold_the_others_up(repository: _Repository, box: Path) -> None:
    repository.write(1)
    bad = repository.write(2)
    # An escape can bring half a character, which UTF-8 cannot say.
    bad.write_bytes(bad.read_bytes().replace(b'"message":"TXN', b'"message":"\\ud800'))
    repository.write(3)
    report = _collect(repository.path, box)
    assert report.collected == 2
    assert report.quarantined == (str(repository.ready / f"damaged-{bad.name}"),)
    assert _notes(box) == [1, 3]


def test_other_files_are_left_alone(repository: _Repository, box: Path) -> None:
    names = ["p-1-x", "r-0000000000000001-" + "g" * 40, "lost", "journal.backup.x.bck", "p-0000000000000001-.pending"]
    for name in names:
        (repository.ready / name).touch()
        (repository.pending / name).touch()
    assert _collect(repository.path, box) == CollectReport()
    assert {path.name for path in repository.pending.iterdir()} == set(names)


def test_two_with_one_number_go_by_their_time(repository: _Repository, box: Path) -> None:
    first, second = repository.write(7), repository.write(5)
    number_six = second.with_name(second.name.replace("5-", "7-", 1))
    second.rename(number_six)
    os.utime(number_six, (1, 1))
    os.utime(first, (2, 2))
    _collect(repository.path, box)
    assert _notes(box) == [5, 7]


@pytest.mark.parametrize("kind", ["root", ".hg", "share", "relative share"])
def test_a_repository_is_found_by_its_root_its_dot_hg_or_a_share(repository: _Repository, box: Path, kind: str) -> None:
    repository.write(1)
    location = repository.path
    if kind == ".hg":
        location = repository.dot_hg
    elif "share" in kind:
        location = repository.path.parent / "share"
        (location / ".hg").mkdir(parents=True)
        target = "../../repo/.hg" if kind.startswith("relative") else str(repository.dot_hg)
        (location / ".hg" / "sharedpath").write_text(target + "\n", encoding="utf-8")
    assert _collect(location, box) == CollectReport(collected=1)


def test_a_path_that_is_not_utf8_is_remembered_and_swept(tmp_path: Path, box: Path) -> None:
    repository = _Repository(tmp_path / "caf\udce9")
    repository.write(1)
    _collect(repository.path, box)
    repository.write(2)
    with Outbox.open(box) as outbox:
        (origin,) = outbox.origins()
        assert collect_repository(origin.location, outbox, deadline_s=1.0) == CollectReport(collected=1)


def test_a_place_that_is_not_a_repository_is_a_clear_error(tmp_path: Path, box: Path) -> None:
    with pytest.raises(NothingThereError, match="is not a Mercurial repository"):
        _collect(tmp_path, box)


def test_the_next_number_is_above_everything_that_waits(repository: _Repository) -> None:
    folders = [str(repository.pending), str(repository.ready), "/nowhere"]
    assert next_counter(folders) == 1
    repository.write(4)
    repository.write(9, ready=False)
    assert next_counter(folders) == 10
    assert next_counter([os.fsencode(folder) for folder in folders]) == 10


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(data=st.lists(st.dictionaries(_TEXTS, _VALUES, max_size=4), max_size=4), counter=st.integers(1, 10**16 - 1))
def test_a_first_copy_reads_as_it_was_written(data: list[dict[str, object]], counter: int) -> None:
    events = [
        Event.of("hg.push.v1", source="hg://h/r", key=[str(place)], subject=None, time=place, data=one)
        for place, one in enumerate(data)
    ]
    copy = FirstCopy(counter, "TXN:" + "a" * 40, Identity(1, 2), 3.5, events)
    assert decode_copy(encode_copy(copy)) == copy


@given(content=st.binary(max_size=60), cut=st.integers(0, 400), flip=st.integers(0, 400), value=st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_stands_in_a_file_it_is_read_or_a_named_error(content: bytes, cut: int, flip: int, value: int) -> None:
    whole = bytearray(encode_copy(FirstCopy(1, "TXN:" + "a" * 40, Identity(1, 2), 3.5, [_event("x")])))
    whole[flip % len(whole)] = value
    for damaged in (content, bytes(whole), bytes(whole[:cut])):
        with suppress(DamagedError):
            decode_copy(damaged)
