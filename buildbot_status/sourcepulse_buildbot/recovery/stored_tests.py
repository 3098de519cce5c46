# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read a complete test result set, and what belongs to it, from the data API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.test_reports.result_sets import BOOLEAN, COMPANIONS, PASS_FAIL
from sourcepulse_buildbot.test_reports.result_tables import ResultTables


class StoredTests(NamedTuple):
    """The results of a set, and those of its companions by category; the writer's thread combines them."""

    test_set: Row
    results: Sequence[Row]
    companions: Mapping[str, Sequence[Row]] = {}

    def of(self, category: str) -> Sequence[Row]:
        """Return the results of a companion; empty if there is no such set."""
        return self.companions.get(category, ())


def is_companion(test_set: Row) -> bool:
    """Return whether a set only adds details to the cases of another one, with which it is published."""
    return (test_set["category"], test_set["value_unit"]) in COMPANIONS


async def read_tests(data: Any, test_set: Row) -> StoredTests:
    """Read the results of a set and of its companions."""
    tables = ResultTables(data.master)
    builderid = test_set["builderid"]
    results = await tables.read(builderid, test_set["test_result_setid"])
    if (test_set["category"], test_set["value_unit"]) != (PASS_FAIL, BOOLEAN):
        return StoredTests(test_set, results)
    companions: dict[str, Sequence[Row]] = {}
    for other in await data.get(("steps", test_set["stepid"], "test_result_sets")):
        if other["complete"] and is_companion(other) and other["description"] == test_set["description"]:
            companions[other["category"]] = await tables.read(builderid, other["test_result_setid"])
    return StoredTests(test_set, results, companions)
