# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write and read test results directly in Buildbot's tables, in batches, in its database threads.

Buildbot's own functions make some ten objects of each value, and read 50,000 results at once. So many objects make
Python's cycle collector walk the whole heap of the master, which stops the reactor for a tenth of a second or more.
Here one prepared statement takes all rows of a batch. If Buildbot's tables are not as expected, its own functions are
used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from sourcepulse_buildbot.mapping.rows import Row

#: How many rows are read at once.
PAGE_ROWS = 1_000
#: How often an insert is retried because another step of the builder added the same name at the same time.
CONFLICTS_MAX = 20

_COLUMNS = ("builderid", "test_result_setid", "test_nameid", "test_code_pathid", "line", "duration_ns", "value")
_NAME, _PATH = "test_name", "test_code_path"


class ResultTables:
    """The tables of one master's database."""

    def __init__(self, master: Any) -> None:
        self._master = master
        database = getattr(master, "db", None)
        model = getattr(database, "model", None)
        self._pool: Any = getattr(database, "pool", None)
        self._results: Any = getattr(model, "test_results", None)
        self._names: Any = getattr(model, "test_names", None)
        self._paths: Any = getattr(model, "test_code_paths", None)
        self._is_known = (
            hasattr(self._pool, "do")
            and {*_COLUMNS, "id"} <= _columns(self._results)
            and {"id", "builderid", "name"} <= _columns(self._names)
            and {"id", "builderid", "path"} <= _columns(self._paths)
        )

    async def add(self, builderid: int, setid: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store results as `addTestResults` of the data API does; a member that is None counts as absent."""
        if self._is_known:
            await self._pool.do(self._add, builderid, setid, rows)
            return
        given = [{name: value for name, value in row.items() if value is not None} for row in rows]
        await self._master.data.updates.addTestResults(builderid, setid, given)

    async def read(self, builderid: int, setid: int) -> Sequence[Row]:
        """Return the results of a set in the order in which they were stored, as rows of the data API."""
        if not self._is_known:
            rows: Sequence[Row] = await self._master.data.get(("test_result_sets", setid, "results"))
            return sorted(rows, key=lambda row: row["test_resultid"])
        found: list[Row] = []
        after = -1
        while True:
            page = await self._pool.do(self._page, builderid, setid, after)
            found += page
            if len(page) < PAGE_ROWS:
                return found
            after = page[-1]["test_resultid"]

    def _add(self, connection: Any, builderid: int, setid: int, rows: Sequence[Mapping[str, Any]]) -> None:
        for conflict in range(CONFLICTS_MAX + 1):
            transaction = connection.begin()
            try:
                names = _ids(connection, self._names, self._names.c.name, builderid, (row.get(_NAME) for row in rows))
                paths = _ids(connection, self._paths, self._paths.c.path, builderid, (row.get(_PATH) for row in rows))
                connection.execute(
                    self._results.insert(),
                    [
                        {
                            "builderid": builderid,
                            "test_result_setid": setid,
                            "test_nameid": names.get(row.get(_NAME)),
                            "test_code_pathid": paths.get(row.get(_PATH)),
                            "line": row.get("line"),
                            "duration_ns": row.get("duration_ns"),
                            "value": row["value"],
                        }
                        for row in rows
                    ],
                )
                transaction.commit()
            except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
                transaction.rollback()
                if conflict == CONFLICTS_MAX:
                    raise
            else:
                return

    def _page(self, connection: Any, builderid: int, setid: int, after: int) -> list[Row]:
        results, names, paths = self._results, self._names, self._paths
        # The joins include the builder, so that only its names are searched.
        joined = results.outerjoin(
            paths, (results.c.test_code_pathid == paths.c.id) & (paths.c.builderid == builderid)
        ).outerjoin(names, (results.c.test_nameid == names.c.id) & (names.c.builderid == builderid))
        query = (
            sa.select(results.c.id, names.c.name, paths.c.path, results.c.line, results.c.duration_ns, results.c.value)
            .select_from(joined)
            .where((results.c.builderid == builderid) & (results.c.test_result_setid == setid))
            .where(results.c.id > after)
            .order_by(results.c.id)
            .limit(PAGE_ROWS)
        )
        return [
            {
                "test_resultid": number,
                "test_result_setid": setid,
                "test_name": name,
                "test_code_path": path,
                "line": line,
                "duration_ns": duration,
                "value": value,
            }
            for number, name, path, line, duration, value in connection.execute(query)
        ]


def _ids(
    connection: Any, table: Any, column: Any, builderid: int, values: Iterable[str | None]
) -> dict[str | None, int]:
    """Return the ids of these texts; new ones are added."""
    wanted = {value for value in values if value is not None}
    found = _known_ids(connection, table, column, builderid, wanted)
    if new := sorted(wanted - found.keys()):
        connection.execute(table.insert(), [{"builderid": builderid, column.name: value} for value in new])
        found |= _known_ids(connection, table, column, builderid, new)
    return found


def _known_ids(
    connection: Any, table: Any, column: Any, builderid: int, values: Iterable[str]
) -> dict[str | None, int]:
    wanted = list(values)
    if not wanted:
        return {}
    query = sa.select(table.c.id, column).where(
        column.in_(sa.bindparam("wanted", expanding=True)) & (table.c.builderid == builderid)
    )
    return {text: number for number, text in connection.execute(query, {"wanted": wanted})}


def _columns(table: Any) -> set[str]:
    return set(getattr(getattr(table, "c", None), "keys", list)())
