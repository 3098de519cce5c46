# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a notice withdraws, decided for any data: never too little, and nothing of what it does not concern."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.brokers.file.envelopes import Envelope
from sourcepulse.brokers.file.withdrawal.decision import Cause, cause_of, is_withdrawn, may_withdraw
from sourcepulse.brokers.file.withdrawal.mentions import mentioned, without
from sourcepulse.catalogue import known_types
from support.events.bugzilla_events import SITE

BUG, NUMBERS = "bug/1", st.integers(0, 5)
TEXTS = st.sampled_from(["", "text", "https://b/show_bug.cgi?id=1", "https://b/show_bug.cgi?id=12&x=1"])
VALUES = st.one_of(st.none(), NUMBERS, TEXTS, st.lists(NUMBERS | TEXTS, max_size=3))
FIELDS = st.sampled_from(["summary", "depends_on", "blocks", "dupe_of", "dupe_bug_id", "see_also", "cf_bug", "id"])
MEMBERS = st.dictionaries(FIELDS, VALUES, max_size=5)
CHANGES = st.lists(st.fixed_dictionaries({"field_name": FIELDS, "removed": VALUES, "added": VALUES}), max_size=3)
DATA = st.fixed_dictionaries({}, optional={"bug": MEMBERS, "comment": MEMBERS, "changes": CHANGES})
ANY = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["comment", "attachment", "comment_id", "attachment_id", "id", "x"]), inner)
    ),
    max_leaves=12,
)


def notice(type_: str, data: dict[str, Any] | None, *, subject: str | None = BUG, source: str = SITE) -> Cause | None:
    return cause_of(Envelope(source, "one", type_, subject), data)


def test_of_all_types_only_notices_and_stand_ins_withdraw() -> None:
    assert {type_ for type_ in known_types() if may_withdraw(type_)} == {
        "bugzilla.attachment.hidden.v1",
        "bugzilla.bug.deleted.v1",
        "bugzilla.bug.hidden.v1",
        "bugzilla.comment.hidden.v1",
        "system.event.withheld.v1",
    }


@given(DATA, st.integers(0, 13))
def test_no_number_of_a_bug_is_left_and_another_stays(data: dict[str, Any], bug: int) -> None:
    cut = without(data, bug)
    if bug not in mentioned(data):
        assert cut == data or cut is None
    elif cut is not None:
        assert bug not in mentioned(cut)
        assert mentioned(cut) <= mentioned(data)
        assert set(cut) == set(data)
        assert cut.get("bug", {}).get("summary") == data.get("bug", {}).get("summary")


@given(ANY, st.sampled_from(["comment", "attachment"]), NUMBERS)
def test_a_part_is_withdrawn_wherever_it_is_named(value: Any, part: str, number: int) -> None:
    data = {"data": value}
    text = json.dumps(data, separators=(",", ":"))
    cause = Cause(SITE, frozenset({BUG}), part, number)
    withdrawn = is_withdrawn(cause, "bugzilla.comment.created.v1", data)
    if f'"{part}_id":{number}' in text:
        assert withdrawn
    if f'"{part}' not in text:
        assert not withdrawn


@given(ANY)
def test_a_whole_bug_is_withdrawn_whatever_the_data(value: Any) -> None:
    cause = notice("bugzilla.bug.hidden.v1", {"id": 1})
    assert cause == Cause(SITE, frozenset({BUG}))
    assert is_withdrawn(cause, "bugzilla.bug.changed.v1", {"data": value})
    assert is_withdrawn(cause, "bugzilla.bug.hidden.v1", {"id": 1, "text": value}), "more than a notice has"
    assert not is_withdrawn(cause, "bugzilla.bug.hidden.v1", {"id": 1})
    assert is_withdrawn(cause, "bugzilla.bug.changed.v1", None)


@pytest.mark.parametrize("data", [None, {}, {"id": "7", "bug_id": 1}, {"id": True, "bug_id": 1}])
def test_a_notice_that_does_not_say_which_part_is_hidden_withdraws_the_bug(data: dict[str, Any] | None) -> None:
    assert notice("bugzilla.comment.hidden.v1", data) == Cause(SITE, frozenset({BUG}))


def test_subject_and_data_are_believed_both() -> None:
    found = notice("bugzilla.bug.hidden.v1", {"id": 2})
    assert found is not None
    assert found.subjects == {"bug/1", "bug/2"}


def test_a_stand_in_withdraws_its_copy_and_without_a_subject_what_that_is_about() -> None:
    stand_in = "system.event.withheld.v1"
    assert notice(stand_in, None) == Cause(SITE, frozenset(), id="one")
    assert notice(stand_in, None, subject=None) == Cause(SITE, frozenset(), id="one", and_subject=True)
    restricted = f"{SITE}?restricted"
    assert notice(stand_in, None, subject=None, source=restricted) == Cause(restricted, frozenset(), id="one")
    assert notice("bugzilla.bug.hidden.v1", {"id": 1}, source=restricted) is None
    assert notice(stand_in, None, source="") is None
