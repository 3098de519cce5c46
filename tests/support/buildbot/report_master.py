# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Builders whose builds make a test report and publish it, and what their master's data API says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from support.buildbot.masters import Master

#: Before the builders: the step, and a property with what it counted.
CONFIG_HEAD = """
from buildbot.secrets.providers.file import SecretInAFile
from sourcepulse_buildbot.test_reports.step import PublishTestReport
@util.renderer
def counted(properties):
    return properties.getBuild().executedSteps[-2].getStatistics()
def publishing(name, make, **arguments):
    builder(
        name,
        steps.ShellCommand(command=make, decodeRC={0: 0, 1: 0}, name="tests"),
        PublishTestReport(**arguments),
        steps.SetProperty(property="counted", value=counted, name="count", alwaysRun=True),
    )
"""


class StoredSet(NamedTuple):
    """A test result set and its results, in the order in which they were stored."""

    description: str
    category: str
    value_unit: str
    passed: int | None
    failed: int | None
    is_complete: bool
    results: list[dict[str, Any]]

    @property
    def values(self) -> list[tuple[str, str]]:
        """Return name and value of each result."""
        return [(row["test_name"], row["value"]) for row in self.results]


class Published(NamedTuple):
    """What became of a build that published a report."""

    results: int
    state_string: str
    sets: dict[str, StoredSet]
    counted: dict[str, int]
    problems: list[str]


def publish(master: Master, *builders: str) -> dict[str, Published]:
    """Build all of them at once, and give what the data API says of each then."""
    requests = master.build(*builders)["requests"]
    return {builder: _published(master, requests[builder]) for builder in builders}


def _published(master: Master, request: int) -> Published:
    found = master.do("call", module=__name__, function="found", buildrequestid=request)
    sets = {row["category"]: _stored_set(row, results) for row, results in found["sets"]}
    step = found["step"]
    return Published(step["results"], step["state_string"], sets, found["counted"], found["problems"].splitlines())


def _stored_set(row: dict[str, Any], results: list[dict[str, Any]]) -> StoredSet:
    return StoredSet(
        row["description"],
        row["category"],
        row["value_unit"],
        row["tests_passed"],
        row["tests_failed"],
        row["complete"],
        sorted(results, key=lambda result: int(result["test_resultid"])),
    )


async def found(master: Any, *, buildrequestid: int) -> dict[str, Any]:
    """Run in the master: give what is there of the build of a request."""
    data = master.data
    (buildid,) = [row["buildid"] for row in await data.get(("builds",)) if row["buildrequestid"] == buildrequestid]
    step = await data.get(("builds", buildid, "steps", 2))
    logs = {log["name"]: log["logid"] for log in await data.get(("steps", step["stepid"], "logs"))}
    problems = await data.get(("logs", logs["problems"], "contents")) if "problems" in logs else {"content": ""}
    counted, _ = (await data.get(("builds", buildid, "properties")))["counted"]
    sets = [
        (row, list(await data.get(("test_result_sets", row["test_result_setid"], "results"))))
        for row in await data.get(("steps", step["stepid"], "test_result_sets"))
    ]
    return {"step": step, "problems": problems["content"], "counted": counted, "sets": sets}
