# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names what is wrong with the extension in a Bugzilla and with its sidecar, and its commands repair it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.brokers.embedded_log import wait_until
from support.bugzilla.standin import require_perl
from support.doctor import Examined, examine, paste

MAKE = Path(__file__).parents[2] / "bugzilla_extension" / "SourcePulse" / "t" / "fake" / "make.pl"
LIMIT_SECONDS = 60.0
#: The first word in the file of parameters that checksetup.pl adds.
PARAMS = ("sourcepulse_site_id", "sourcepulse_secret")


@pytest.fixture
def bugzilla(tmp_path: Path) -> Path:
    """A folder with the real extension on the classes of Bugzilla that its tests use."""
    require_perl()
    folder = tmp_path / "bugzilla"
    subprocess.run(["perl", MAKE, folder], check=True, capture_output=True, timeout=LIMIT_SECONDS)
    return folder


def looked_at(bugzilla: Path) -> Examined:
    folder = bugzilla.parent
    found = examine("--bugzilla", bugzilla, "--outbox", folder / "outbox.db", "--broker", f"file://{folder}/log.db")
    # The folders of a test are closed to a web server, and no relay was ever needed.
    ignored = {"SP110", "SP705", "SP402"}
    return Examined(found.returncode, [each for each in found.findings if each["id"] not in ignored])


@contextmanager
def sidecar(bugzilla: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a sidecar until the end of the block."""
    folder = bugzilla.parent
    command = [sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar", "--bugzilla", str(bugzilla)]
    command += ["--outbox", str(folder / "outbox.db"), "--broker", f"file://{folder}/log.db"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until((bugzilla / "data" / "sourcepulse.sock").exists)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)


def test_an_extension_without_checksetup_is_named_and_repaired(bugzilla: Path) -> None:
    params = bugzilla / "data" / "params.json"
    whole = params.read_text()
    shutil.copy(params, bugzilla / "whole.json")
    params.write_text(json.dumps({name: value for name, value in json.loads(whole).items() if name not in PARAMS}))
    # It stands in for Bugzilla's own, which needs a Bugzilla: test_real_bugzilla runs that.
    (bugzilla / "checksetup.pl").write_text("#!/bin/sh\ncp whole.json data/params.json\n")
    (bugzilla / "checksetup.pl").chmod(0o755)
    found = looked_at(bugzilla)
    assert found.bad == ["SP703"]
    paste(*found.repair("SP703"))
    assert looked_at(bugzilla).bad == ["SP704"]


def test_a_socket_with_the_wrong_mode_is_named_and_repaired(bugzilla: Path) -> None:
    with sidecar(bugzilla):
        assert looked_at(bugzilla).bad == []
        socket = bugzilla / "data" / "sourcepulse.sock"
        socket.chmod(0o600)
        found = looked_at(bugzilla)
        assert found.bad == ["SP702"]
        paste(*found.repair("SP702"))
        assert looked_at(bugzilla).bad == []
    found = looked_at(bugzilla)
    assert "SP704" in found.bad
    assert "bugzilla-sidecar --bugzilla" in found.repair("SP704")[0]


def test_a_folder_without_the_extension_is_named_and_the_command_links_it(bugzilla: Path, tmp_path: Path) -> None:
    (bugzilla / "extensions" / "SourcePulse").unlink()
    (bugzilla / "checksetup.pl").write_text("#!/bin/sh\n")
    (bugzilla / "checksetup.pl").chmod(0o755)
    found = looked_at(bugzilla)
    assert found.bad == ["SP701"]
    paste(*found.repair("SP701"))
    assert looked_at(bugzilla).bad == ["SP704"]
    assert "SP701" in looked_at(tmp_path / "none").bad
