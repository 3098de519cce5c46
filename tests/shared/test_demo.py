# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The demo: what a stranger sees first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("mercurial")


def test_the_demo_shows_a_real_push_arriving_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "sourcepulse.cli", "demo"],
        env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    line, event = done.stdout.strip().splitlines()
    assert "alice pushed 3 changesets" in line
    assert json.loads(event)["data"]["count"] == 3
    assert "[extensions]" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sourcepulse.cli", "demo"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "LC_ALL": "C"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as demo:
        assert demo.stderr is not None
        demo.stderr.readline()
        demo.terminate()
        demo.communicate(timeout=60)
    assert demo.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_the_demo_needs_no_hg_that_can_be_run_by_its_first_line(tmp_path: Path) -> None:
    # Installed into a path with spaces, the script of hg names an interpreter that the kernel cannot find.
    hg = Path(sys.executable).with_name("hg")
    if not hg.exists():
        pytest.skip("hg is not installed beside the interpreter")
    prefix = Path(sys.prefix)
    with tempfile.TemporaryDirectory(prefix="a b ") as folder:
        environment = Path(folder) / "venv"
        (environment / "bin").mkdir(parents=True)
        (environment / "lib").symlink_to(prefix / "lib")
        (environment / "pyvenv.cfg").write_text((prefix / "pyvenv.cfg").read_text())
        python = environment / "bin" / "python"
        python.symlink_to(Path(sys.executable).resolve())
        (environment / "bin" / "hg").write_text(f"#!{python}\n" + hg.read_text().partition("\n")[2], encoding="utf-8")
        (environment / "bin" / "hg").chmod(0o755)
        done = subprocess.run(
            [python, "-m", "sourcepulse.cli", "demo"], capture_output=True, text=True, check=False, timeout=120
        )
    assert done.returncode == 0, done.stderr
