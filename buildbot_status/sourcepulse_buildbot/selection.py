# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which events of a master are wanted."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from sourcepulse_buildbot.mapping.tests import Wanted

#: The families of events, by subject.
FAMILIES = ("changes", "requests", "buildsets", "builds", "tests", "workers", "masters")
#: How much of a build is published, from only its start and end to everything.
DETAILS = ("builds", "steps", "logs")


class Selection(NamedTuple):
    """What the settings select; None for all.

    Builders and tags narrow requests, builds and tests; schedulers narrow these and buildsets. Changes, workers and
    masters belong to no builder.
    """

    families: frozenset[str]
    detail: str
    builders: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    schedulers: frozenset[str] | None = None
    cases: Wanted = Wanted(frozenset())

    def wants(self, family: str) -> bool:
        return family in self.families

    @property
    def wants_steps(self) -> bool:
        return self.wants("builds") and self.detail != DETAILS[0]

    @property
    def wants_logs(self) -> bool:
        return self.wants("builds") and self.detail == DETAILS[-1]

    @property
    def wants_any_of_builds(self) -> bool:
        """Return whether any event is wanted that requires its build to be known."""
        return self.wants("builds") or self.wants("tests")

    def selects_builder(self, names: AbstractSet[str], tags: AbstractSet[str]) -> bool:
        """Return whether events of a builder with these names and tags are wanted."""
        if self.builders is not None and self.builders.isdisjoint(names):
            return False
        return self.tags is None or not self.tags.isdisjoint(tags)

    def selects_scheduler(self, scheduler: str | None) -> bool:
        """Return whether events of what this scheduler created are wanted."""
        return self.schedulers is None or scheduler in self.schedulers
