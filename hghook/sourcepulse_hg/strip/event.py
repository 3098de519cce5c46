# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map the changesets that strip or rollback removed to their event; plain values in, an event out."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse.events.bounds import LIST_MAX_ITEMS
from sourcepulse.events.event import Event
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event
from sourcepulse_hg.strip.note import ROLLBACK

STRIPPED = "hg.repo.stripped.v1"


def removal_event(act: Act, operation: str, gone: Sequence[str], emitter: Emitter, *, recovered: bool) -> Event:
    """Return the event of the removed nodes; for a rollback, `act.txnid` is the transaction that it undid."""
    texts = Texts()
    nodes = list(gone[:LIST_MAX_ITEMS])
    texts.note_cut("/nodes", len(nodes), len(gone))
    return make_event(
        STRIPPED,
        act,
        emitter,
        texts,
        {"operation": operation, "count": len(gone), "nodes": nodes},
        key=[ROLLBACK, act.txnid] if operation == ROLLBACK else None,
        recovered=recovered,
    )
