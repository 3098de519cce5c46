# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The page on the gateway describes the streams as they are: its commands run, its words are those that are sent."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sourcepulse_web.stream import begin, frames, hub
from sourcepulse_web.stream.filter import PARAMETERS
from support.fenced_blocks import ROOT, block
from support.web.rows import push
from support.web.streams import serving

PAGE = "shared/docs/web.md"
#: curl reads a stream for so long.
CURL_SECONDS = 2
TIMED_OUT = 28


def test_the_printed_commands_show_events(tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text(f"max-time = {CURL_SECONDS}\n", encoding="utf-8")
    follow, ask = block(f"{PAGE}: curl -sN").script.splitlines()
    with serving(tmp_path / "log.db") as server:
        server.append(push(1), push(2))

        def run(command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", command.replace(":8080/", f":{server.port}/")],
                env={"CURL_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        followed = run(follow)
        assert followed.returncode == TIMED_OUT
        lines = [json.loads(line) for line in followed.stdout.splitlines()]
        assert [line["event"]["data"]["number"] for line in lines if "event" in line] == [1, 2]
        again = run(follow.replace("since=1h", f"last-event-id={lines[1]['id']}"))
        assert [json.loads(line)["id"] for line in again.stdout.splitlines() if '"event"' in line] == [lines[2]["id"]]
        assert len(json.loads(run(ask).stdout)["events"]) == 2


@pytest.mark.parametrize(
    "word",
    [
        *(frames.HELLO, frames.RESET, frames.WITHDRAW, frames.BYE, frames.UNREADABLE),
        *(begin.MALFORMED, begin.UNKNOWN_LOG, begin.AHEAD, begin.OLDER),
        *(hub.OVERLOAD, hub.BROKER_AWAY, hub.LOG_UNREADABLE, hub.LOG_REPLACED),
        *PARAMETERS,
    ],
)
def test_the_page_has_every_word_of_the_protocol(word: str) -> None:
    section = (ROOT / PAGE).read_text(encoding="utf-8").partition("## The protocol of /events")[2].partition("\n## ")[0]
    assert f"`{word}`" in section
