# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read a complete test result set, and what belongs to it, from the data API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_buildbot.result_sets import (
    BOOLEAN,
    FAILURES,
    MESSAGE,
    OUTCOME_MESSAGE,
    PASS_FAIL,
    SKIPS,
    Details,
    details_of,
)
from sourcepulse_buildbot.rows import Row


class StoredTests(NamedTuple):
    """The results of a set; details of its failures by `test_resultid`; the skipped cases, which are in another set."""

    test_set: Row
    results: Sequence[Row]
    details: Mapping[int, Details]
    skips: Sequence[Row]


def is_companion(test_set: Row) -> bool:
    """Tell whether a set only says more of the cases of another one, with which it is told."""
    return (test_set["category"], test_set["value_unit"]) in ((FAILURES, OUTCOME_MESSAGE), (SKIPS, MESSAGE))


async def read_tests(data: Any, test_set: Row) -> StoredTests:
    """Read the results of a set and of its companions, each in one call: reading by pages costs all of it each time."""
    results = await _results(data, test_set)
    if (test_set["category"], test_set["value_unit"]) != (PASS_FAIL, BOOLEAN):
        return StoredTests(test_set, results, {}, ())
    failures: Sequence[Row] = ()
    skips: Sequence[Row] = ()
    for other in await data.get(("steps", test_set["stepid"], "test_result_sets")):
        if other["complete"] and is_companion(other) and other["description"] == test_set["description"]:
            rows = await _results(data, other)
            if other["category"] == FAILURES:
                failures = rows
            else:
                skips = rows
    return StoredTests(test_set, results, details_of(results, failures), skips)


async def _results(data: Any, test_set: Row) -> Sequence[Row]:
    rows: Sequence[Row] = await data.get(("test_result_sets", test_set["test_result_setid"], "results"))
    return rows
