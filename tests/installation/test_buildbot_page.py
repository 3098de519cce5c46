# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the page on Buildbot prints is done as printed, in a bare Debian: the events of a forced build arrive."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest

from support.fenced_blocks import block
from support.installation.bare_root import WATCHED, BareRoot
from support.installation.pages import steps

PAGE = "shared/docs/install-buildbot.md"
WEB = "http://localhost:8010/api/v2"
STARTED_WITHIN_SECONDS = 60

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


def press_force() -> None:
    """Press "force" in the web interface: what its page sends."""
    body = json.dumps({"id": 1, "jsonrpc": "2.0", "method": "force", "params": {"builderid": "1"}}).encode()
    request = urllib.request.Request(f"{WEB}/forceschedulers/force", body, {"Content-Type": "application/json"})
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert "result" in json.load(answer)
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_the_events_of_a_forced_build_arrive_after_what_the_page_prints(machine: BareRoot) -> None:
    printed = []
    for step in steps(PAGE):
        if "sourcepulse tail" in step.begins:
            machine.watch(step)
        elif "sourcepulse status" in step.block.text:
            press_force()
            machine.wait_for(f"cat {WATCHED}", "build.finished")
            printed.append(machine.do(step))
        elif step.action != "read":
            printed.append(machine.do(step))
    read = machine.wait_for(f"cat {WATCHED}", "build.buildset.completed")
    for event in ("build.worker.connected", "build.request.submitted", "build.started", "build.step.finished"):
        assert f"{event}  buildbot://ci" in read
    assert "pending" in printed[-1]
    # What the page about Buildbot shows of `tail` is what it prints; the master had started before.
    shown = types_in(block("buildbot_status/README.md: $ sourcepulse tail").output) - {"build.master.started"}
    assert shown <= types_in(read)


def types_in(printed: str) -> set[str]:
    """Return the types of the events that `tail` printed."""
    return set(re.findall(r"^\S+ \S+Z  ([a-z.]+)  ", printed, re.MULTILINE))
