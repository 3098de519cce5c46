# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers of receivers in few words."""

from __future__ import annotations

from sourcepulse_web.pages.hooks.words import answer
from support.webhooks.hooked_site import attempt


def test_a_long_answer_ends_at_a_word_and_shows_that_there_is_more() -> None:
    refused = {"status": 422, "outcome": "refused"}
    assert answer(attempt("chat", excerpt="no such room", **refused)) == "422 no such room"
    long = "the field subject of this event is not known to the receiver of this team"
    assert answer(attempt("chat", excerpt=long, **refused)) == (
        "422 the field subject of this event is not known to the receiver …"
    )
    assert answer(attempt("chat", excerpt="x" * 61, **refused)) == f"422 {'x' * 60} …"
    gone = attempt("chat", status=None, outcome="retry", reason=long)
    assert answer(gone) == "the field subject of this event is not known to the receiver …"
