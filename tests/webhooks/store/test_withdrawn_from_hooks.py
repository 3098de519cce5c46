# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is hidden later is not sent to a hook, also not by redelivery, and nothing readable of it stays in any file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse.brokers.file.upkeep import trim_now
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode
from sourcepulse_web.webhooks.desk.card import whole_json
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.send.upkeep import Upkeep
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.attempts import BLANKED, BLANKED_TEXT
from sourcepulse_web.webhooks.store.forgetting import Forgetting
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Held
from sourcepulse_web.webhooks.store.store import HookStore
from support.events.bugzilla_events import Site, withheld
from support.webhooks.log import EXCHANGE, again, all_of, hook, positions, send

SECRET = "the-quick-brown-secret"
REFUSED = "the receiver answered 422"
REFUSED_BLANKED = f"{REFUSED}; {BLANKED_TEXT}"
HOOK = hook("chat-room", "bugzilla.#", "system.#")
NAME = HOOK.name
NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HookStore]:
    with HookStore(tmp_path / "webhooks.db") as opened:
        opened.add(HOOK, "whsec_x", NOW)
        yield opened


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[HookQueues]:
    with HookQueues(tmp_path / "log.db", EXCHANGE, private=True) as opened:
        opened.declare(HOOK)
        yield opened


def refused(held: Held, text: str = SECRET, number: int = 422) -> Attempt:
    """Return an attempt whose receiver repeats what it got."""
    return Attempt(
        hook=NAME, at=NOW, position=held.position, webhook_id=f"msg_{held.id}", source=held.source, id=held.id,
        type=held.type, routing_key=held.routing_key, tries=1, outcome="refused", status=number,
        reason=f"the receiver answered {number}", took_s=0.1, headers=f"x-echo: {text}", excerpt=f"cannot read {text}",
    )  # fmt: skip


def readable_in(folder: Path, text: str = SECRET) -> list[str]:
    return [each.name for each in folder.iterdir() if each.is_file() and text.encode() in each.read_bytes()]


def trim_later(folder: Path, store: HookStore, queues: HookQueues) -> None:
    """Remove all events from the log, and then what the sender removes eight days later."""
    trim_now(BrokerUrl(scheme="file", path=str(folder / "log.db")), keep_seconds=-60.0)
    Upkeep(store, queues, lambda: NOW + 8 * 86_400, lambda: 0.0).trim()


def test_an_event_that_is_hidden_while_it_is_leased_is_loaded_as_a_stand_in(tmp_path: Path, queues: HookQueues) -> None:
    site = Site()
    send(tmp_path, site.changed(1, SECRET), site.changed(2, "public"))
    first, second = all_of(queues, NAME)
    send(tmp_path, site.bug_hidden(1))
    loaded = queues.load(first.position)
    assert loaded is not None
    assert loaded.withdrawn
    assert SECRET.encode() not in loaded.body
    other = queues.load(second.position)
    assert other is not None
    assert not other.withdrawn
    assert queues.set_aside(NAME, first.position, f"it answered {SECRET}"), "it is settled, because it is not sent"
    assert queues.set_aside_list(NAME) == []
    assert queues.figures(NAME).waiting == 2, "the other event, and what hid the bug"
    assert readable_in(tmp_path) == []


def test_an_event_that_was_set_aside_is_blanked_and_never_comes_back(tmp_path: Path, queues: HookQueues) -> None:
    site = Site()
    send(tmp_path, site.changed(1, SECRET), site.changed(2, "public"), site.changed(1, SECRET))
    for each in all_of(queues, NAME):
        assert queues.set_aside(NAME, each.position, f"it answered {SECRET}" if each.position != 2 else "refused")
    send(tmp_path, site.bug_hidden(1))
    assert readable_in(tmp_path) == []
    assert [each.withdrawn for each in queues.set_aside_list(NAME)] == [True, False, True]
    assert again(queues, NAME, [1]) == 0
    assert queues.bring_back(NAME) == 1
    assert positions(all_of(queues, NAME)) == [2, 4]
    assert queues.set_aside_list(NAME) == []


def test_what_was_delivered_before_it_was_hidden_is_not_redelivered(tmp_path: Path, queues: HookQueues) -> None:
    site = Site()
    sent = [site.changed(1, SECRET), site.changed(2, "public"), site.comment(1, 5, SECRET)]
    send(tmp_path, *sent)
    queues.settle(NAME, positions(all_of(queues, NAME)))
    send(tmp_path, withheld(sent[0], subject=sent[0].subject), site.part_hidden("comment", 1, 5))
    assert again(queues, NAME, [1, 2, 3]) == 1
    assert queues.since(NAME, 0.0) == 0
    assert positions(all_of(queues, NAME)) == [2, 4, 5]
    assert [each for each in (1, 2, 3) if (found := queues.load(each)) is not None and found.withdrawn] == [1, 3]
    assert readable_in(tmp_path) == []


def test_the_attempts_of_a_hidden_bug_hold_no_byte_of_it(tmp_path: Path, store: HookStore, queues: HookQueues) -> None:
    site = Site()
    send(tmp_path, site.changed(1, SECRET), site.changed(2, "public"))
    forgetting = Forgetting(store, queues)
    assert forgetting.turn(NOW) == 0
    first, second = all_of(queues, NAME)
    store.attempts.record([refused(first), refused(second, "public"), refused(first)])
    assert readable_in(tmp_path) != []
    send(tmp_path, site.bug_hidden(1))
    assert forgetting.turn(NOW) == 2
    assert forgetting.turn(NOW) == 0
    assert readable_in(tmp_path) == []
    # An answer that came meanwhile is recorded afterwards.
    store.attempts.record([refused(first)])
    assert readable_in(tmp_path) == []
    texts = [(each.reason, each.headers, each.excerpt) for each in store.attempts.of_hook(NAME, 10)]
    blank = (BLANKED, "", "")
    assert texts == [blank, blank, (REFUSED, "x-echo: public", "cannot read public"), blank]


def test_a_hidden_bug_is_not_named_by_the_answers_about_other_bugs(
    tmp_path: Path, store: HookStore, queues: HookQueues
) -> None:
    site = Site()
    send(tmp_path, site.changed(2, "public", depends_on=[777_001]), site.changed(3, "public"))
    first, second = all_of(queues, NAME)
    store.attempts.record([refused(first, '"depends_on":[777001]'), refused(second, "1777001")])
    send(tmp_path, site.bug_hidden(777_001))
    assert Forgetting(store, queues).turn(NOW) == 1
    texts = [(each.reason, each.headers, each.excerpt) for each in store.attempts.of_hook(NAME, 10)]
    assert texts == [(REFUSED, "x-echo: 1777001", "cannot read 1777001"), (REFUSED_BLANKED, "", "")]
    assert readable_in(tmp_path, "[777001]") == []
    loaded = queues.load(first.position)
    assert loaded is not None
    assert b"777001" not in loaded.body


@pytest.mark.parametrize("is_before", [True, False])
def test_a_hidden_bug_with_a_small_number_blanks_no_answer_that_has_it_only_in_its_date_length_or_status(
    tmp_path: Path, store: HookStore, queues: HookQueues, is_before: bool
) -> None:
    site = Site()
    send(tmp_path, site.changed(79, "public"), site.changed(80, "public"))
    first, second = all_of(queues, NAME)
    headers = "Date: Mon, 30 Nov 2026 07:05:58 GMT\ncontent-length: 30"
    plain = replace(refused(first, number=404), headers=headers, excerpt="wrong signature")
    naming = replace(refused(second, number=404), headers=f"{headers}\nx-bug: 30", excerpt="")
    if is_before:
        store.attempts.record([plain, naming])
    send(tmp_path, site.bug_hidden(30), site.bug_hidden(404))
    assert Forgetting(store, queues).turn(NOW) == int(is_before)
    if not is_before:
        store.attempts.record([plain, naming])
    second_kept, first_kept = store.attempts.of_hook(NAME, 10)
    assert first_kept == replace(plain, number=first_kept.number)
    assert (second_kept.status, second_kept.headers, second_kept.excerpt) == (404, "", "")
    assert second_kept.reason == f"the receiver answered 404; {BLANKED_TEXT}"


def test_an_answer_that_names_a_hidden_bug_and_is_recorded_afterwards_is_blanked_as_long_as_the_log_has_events(
    tmp_path: Path, store: HookStore, queues: HookQueues
) -> None:
    site = Site()
    send(tmp_path, site.changed(2, "public"), site.changed(3, "public"))
    first, second = all_of(queues, NAME)
    send(tmp_path, site.bug_hidden(777_001))
    assert Forgetting(store, queues).turn(NOW) == 0
    elsewhere = replace(refused(first, "no link to 777001"), source="bugzilla://elsewhere")
    store.attempts.record([refused(first, "no link to 777001"), refused(second, "1777001, not 7770010"), elsewhere])
    of_hook = store.attempts.of_hook(NAME, 10)
    assert [each.reason for each in of_hook] == [REFUSED, REFUSED, REFUSED_BLANKED]
    assert (of_hook[2].headers, of_hook[2].excerpt) == ("", "")
    trim_later(tmp_path, store, queues)
    store.attempts.record([refused(first, "no link to 777001")])
    assert [each.excerpt for each in store.attempts.of_hook(NAME, 1)] == ["cannot read no link to 777001"]


def test_what_bugzilla_hid_is_not_shown_again_as_long_as_the_log_has_it_or_it_is_set_aside(
    tmp_path: Path, store: HookStore, queues: HookQueues
) -> None:
    site = Site()
    send(tmp_path, site.changed(1, SECRET), site.changed(2, "public"))
    hidden, _ = all_of(queues, NAME)
    store.attempts.forget([(hidden.source, hidden.id)], time.time())
    assert queues.set_aside(NAME, hidden.position, "refused")
    desk = Desk(store, queues, WebhookSettings())
    for _ in range(2):
        Upkeep(store, queues, lambda: NOW + 8 * 86_400, lambda: 0.0).trim()
        (event,) = whole_json(desk.show(NAME))["set_aside_events"]
        assert event["event"]["state"] == "withdrawn"
        # After the first round the log has it no longer, and it is still set aside.
        trim_now(BrokerUrl(scheme="file", path=str(tmp_path / "log.db")), keep_seconds=-60.0)
    assert queues.drop(NAME, queues.set_aside_list(NAME)[0].letter)
    trim_later(tmp_path, store, queues)
    assert store.attempts.forgotten([(hidden.source, hidden.id)]) == set()


def test_a_withdrawal_that_was_not_seen_is_obeyed_at_the_next_start_and_in_another_log(
    tmp_path: Path, store: HookStore, queues: HookQueues
) -> None:
    site = Site()
    changed = site.changed(1, SECRET)
    send(tmp_path, changed)
    (held,) = all_of(queues, NAME)
    assert Forgetting(store, queues).turn(NOW) == 0
    store.attempts.record([refused(held)])
    send(tmp_path, site.bug_hidden(1))
    queues.close()
    with HookQueues(tmp_path / "log.db", EXCHANGE) as again, HookStore(store.path) as other:
        assert Forgetting(other, again).turn(NOW) == 1
        assert Forgetting(other, again).turn(NOW) == 0
    # The positions of another log say nothing about those of this one.
    (tmp_path / "second").mkdir(0o700)
    with HookQueues(tmp_path / "second" / "log.db", EXCHANGE, private=True) as second:
        second.declare(HOOK)
        send(tmp_path / "second", changed, site.bug_hidden(1))
        other_held = Held(1, changed.source, changed.id, changed.type, changed.routing_key, NOW)
        store.attempts.trim_forgotten(NOW + 8 * 86_400, NOW + 8 * 86_400)
        store.attempts.record([refused(other_held)])
        assert store.standing(NAME).interrupted_at is None
        assert Forgetting(store, second).turn(NOW) == 1
        assert store.standing(NAME).interrupted_at == NOW, "the owner sees that the log is another one"
    assert readable_in(tmp_path) == []


def append_as_format_1(log: Path, *events: Event) -> None:
    """Append as a program does that knows nothing of withdrawals."""
    with closing(sqlite3.connect(log)) as db, db:
        db.executemany(
            "INSERT INTO messages (at, exchange, routing_key, content_type, body) VALUES (?, ?, ?, ?, ?)",
            [(time.time(), EXCHANGE, event.routing_key, CONTENT_TYPE, encode(event)) for event in events],
        )
        db.execute("UPDATE queues SET published = published + ?", (len(events),))


def test_what_an_older_program_withdrew_is_obeyed_before_anything_is_leased(
    tmp_path: Path, store: HookStore, queues: HookQueues
) -> None:
    site = Site()
    append_as_format_1(queues.path, site.changed(1, SECRET))
    (held,) = all_of(queues, NAME)
    store.attempts.record([refused(held)])
    queues.settle(NAME, [held.position])
    append_as_format_1(queues.path, site.changed(1, SECRET), site.bug_hidden(1))
    later = all_of(queues, NAME)
    loaded = [queues.load(each.position) for each in later]
    assert [(each.type, each.withdrawn) for each in loaded if each] == [
        ("system.event.withheld.v1", True),
        ("bugzilla.bug.hidden.v1", False),
    ]
    assert again(queues, NAME, [held.position]) == 0
    assert Forgetting(store, queues).turn(NOW) == 1
    assert readable_in(tmp_path) == []
