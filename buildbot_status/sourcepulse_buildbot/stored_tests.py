# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read a complete test result set, and what belongs to it, from the data API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twisted.internet import threads

from sourcepulse_buildbot.result_sets import BOOLEAN, COMPANIONS, PASS_FAIL
from sourcepulse_buildbot.rows import Row

_MEMBERS = ("test_result_setid", "test_name", "test_code_path", "line", "duration_ns", "value")


class StoredTests(NamedTuple):
    """The results of a set, and those of its companions by their category; they are put together in the writer."""

    test_set: Row
    results: Sequence[Row]
    companions: Mapping[str, Sequence[Row]] = {}

    def of(self, category: str) -> Sequence[Row]:
        """Return the results of a companion; none if there is no such set."""
        return self.companions.get(category, ())


def is_companion(test_set: Row) -> bool:
    """Tell whether a set only says more of the cases of another one, with which it is told."""
    return (test_set["category"], test_set["value_unit"]) in COMPANIONS


async def read_tests(data: Any, test_set: Row) -> StoredTests:
    """Read the results of a set and of its companions, each in one call: reading by pages costs all of it each time."""
    results = await _results(data, test_set)
    if (test_set["category"], test_set["value_unit"]) != (PASS_FAIL, BOOLEAN):
        return StoredTests(test_set, results)
    companions: dict[str, Sequence[Row]] = {}
    for other in await data.get(("steps", test_set["stepid"], "test_result_sets")):
        if other["complete"] and is_companion(other) and other["description"] == test_set["description"]:
            companions[other["category"]] = await _results(data, other)
    return StoredTests(test_set, results, companions)


async def _results(data: Any, test_set: Row) -> Sequence[Row]:
    """Read the results of a set past the data API, which would make its 50,000 rows in the reactor."""
    read = getattr(
        getattr(getattr(getattr(data, "master", None), "db", None), "test_results", None), "getTestResults", None
    )
    if read is None:
        rows: Sequence[Row] = await data.get(("test_result_sets", test_set["test_result_setid"], "results"))
        return rows
    models = await read(test_set["builderid"], test_set["test_result_setid"])
    made: Sequence[Row] = await threads.deferToThread(lambda: [_row(model) for model in models])
    return made


def _row(model: Any) -> Row:
    """Return a result as the data API has it; Buildbot 3 has dictionaries, Buildbot 4 objects."""
    if isinstance(model, dict):
        return {"test_resultid": model["id"], **{name: model[name] for name in _MEMBERS}}
    return {"test_resultid": model.id, **{name: getattr(model, name) for name in _MEMBERS}}
