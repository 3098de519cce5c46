# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Test runs and failed tests."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse_web.board.fact import Fact
from sourcepulse_web.board.reduce.builds import message_of, scope_of
from sourcepulse_web.board.reduce.marks import mark, mark_later, pushes_with
from sourcepulse_web.board.reduce.text import file_of
from sourcepulse_web.board.store import Change, Put, View


def run_finished(view: View, fact: Fact) -> Iterator[Change]:
    data = fact.data
    build = f"{scope_of(fact.source)} {data['buildid']}"
    number = data.get("test_result_setid")
    key = f"{build} {number if number is not None else 'step ' + str(data['stepid'])}"
    if view.get("runs", key) is not None:
        return
    row = {
        "key": key,
        "build": build,
        "position": fact.position,
        "place": str(data["buildername"]),
        "run": run_name(data),
        "outcome": str(data["outcome"]),
        "total": data.get("tests_total"),
        "failed": data.get("tests_failed"),
        # A list that was cut does not say that a test did not fail.
        "whole": int(not data.get("incomplete") and not data.get("cases_left_out")),
    }
    yield Put("runs", key, row)
    found = view.get("builds", build)
    if found is not None:
        pushes = pushes_with(view, found["revision"])
        yield from mark(view, pushes, fact.position)
        yield from mark_later(view, pushes, fact.position, place=found["place"])


def case_failed(view: View, fact: Fact) -> Iterator[Change]:
    data = fact.data
    build = f"{scope_of(fact.source)} {data['buildid']}"
    path, name = data.get("test_code_path"), data.get("test_name")
    testid = str(data.get("testid") or path or name or "")
    key = f"{build} {testid}"
    if view.get("tests", key) is not None:
        return
    row = {
        "key": key,
        "build": build,
        "position": fact.position,
        "testid": testid,
        "test": str(path or name or data.get("description") or "a test without a name"),
        "name": str(name) if path and name and name != path else None,
        "file": file_of(str(path or name or "")),
        "line": data.get("line"),
        "message": message_of(data.get("message")),
        "outcome": str(data["outcome"]),
        "run": run_name(data),
    }
    yield Put("tests", key, row)
    found = view.get("builds", build)
    if found is not None:
        pushes = pushes_with(view, found["revision"])
        yield from mark(view, pushes, fact.position, places=[found["place"]], tests=[testid])
        yield from mark_later(view, pushes, fact.position, place=found["place"], tests=[testid])


def run_name(data: dict[str, object]) -> str:
    """Return what tells the runs of one builder apart."""
    return str(data.get("description") or data.get("step_name") or "")
