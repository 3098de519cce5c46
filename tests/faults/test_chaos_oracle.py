# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The judge of the chaos runs sees what it is there for: what is lost in silence, invented, changed or out of order."""

from __future__ import annotations

from typing import Any

import pytest

from support.streams.chaos_oracle import judge
from support.streams.oracle import Sighting

SOURCE = "system://chaos-0"
TRUTH = [Sighting(f"id-{number}", SOURCE, number, f"digest-{number}") for number in range(1, 6)]
FAR = 10**15


def lines(*numbers: int) -> list[dict[str, Any]]:
    return [TRUTH[number - 1]._asdict() for number in numbers]


def gap(first: int, last: int) -> dict[str, Any]:
    return {"report": "gap", "source": SOURCE, "first_missing": first, "last_missing": last}


def test_what_lies_in_a_gap_is_reported() -> None:
    judged = judge(TRUTH, lines(1, 4, 5, 5), [gap(2, 3), {"report": "interrupted"}], ())
    assert (judged.handled, judged.lost, judged.gaps, judged.handled_again) == (3, 2, 1, 1)
    assert judge(TRUTH, lines(1, 4, 2, 3, 5), [gap(2, 3)], ()).late == 2


@pytest.mark.parametrize(
    ("seen", "reports", "defect"),
    [
        (lines(1, 2, 4, 5), [], "1 of 1 lost events were not reported"),
        (lines(1, 4, 5), [gap(3, 3)], "1 of 2 lost events were not reported"),
        (lines(1, 2, 3, 4), [gap(5, FAR)], "1 of 1 lost events were not reported"),
        (lines(1, 2, 3, 4), [{"report": "interrupted"}], "1 of 1 lost events were not reported"),
        (lines(1, 3, 2, 4, 5), [], "out of order"),
        ([*lines(1, 2, 3, 4, 5), {**lines(5)[0], "id": "other"}], [], "was invented"),
        ([*lines(1, 2, 3, 4), {**lines(5)[0], "digest": "other"}], [], "not the same bytes"),
    ],
)
def test_what_is_wrong_is_said(seen: list[dict[str, Any]], reports: list[dict[str, Any]], defect: str) -> None:
    with pytest.raises(AssertionError, match=defect):
        judge(TRUTH, seen, reports, ())


def test_what_a_stranger_forged_is_neither_invented_nor_a_report() -> None:
    forged = {"id": "forged", "source": SOURCE, "sequence": FAR, "digest": "x"}
    other = {"id": "other", "source": "hg://stranger", "sequence": 1, "digest": "x"}
    judged = judge(TRUTH, [*lines(1, 2), forged, other, *lines(3, 4, 5)], [gap(3, FAR - 1)], {"forged"})
    assert (judged.handled, judged.strangers, judged.gaps) == (5, 2, 0)
