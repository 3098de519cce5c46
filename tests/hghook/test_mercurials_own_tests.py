# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Mercurial's own tests give with us what they give without us.

They are neither here nor downloaded: the environment variable MERCURIAL_TESTS names the folder `tests` of Mercurial's
source distribution, of the version that is in the venv. A test that passes with us needs no run without us.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hg.sites import EXTENSION_FOLDER, VENV_HG

ONE_TEST_LIMIT_SECONDS = 1800
PART_LIMIT_SECONDS = 3 * 3600

_FOLDER = os.environ.get("MERCURIAL_TESTS", "")
#: How Mercurial is configured to load us, or what stands in our place.
_EXTENSION = "extensions.sourcepulse_hg={package}"
_HOOK = "hooks.changegroup.sourcepulse=python:{package}/__init__.py:changegroup"
#: Does nothing, so that without us Mercurial has the same to say of extensions, commands and hooks as with us.
_STAND_IN = """
from sourcepulse_hg.commands.declarations import cmdtable, configtable
testedwith = b"6.3 7.2"

def changegroup(ui, repo, **kwargs):
    return False
"""
_PARTS = {
    "hook": "test-hook*.t",
    "push": "test-push*.t",
    "bundle2": "test-bundle2*.t",
    "phases": "test-phase*.t",
    "bookmarks": "test-bookmark*.t",
    "obsolete": "test-obs*.t",
    "strip": "test-strip*.t test-rollback.t",
    "subrepo": "test-subrepo*.t",
    "largefiles": "test-largefiles*.t",
    "share": "test-share*.t",
    "transaction": "test-transaction*.t",
    "servers": "test-acl.t test-ssh*.t test-http*.t test-pull*.t test-unbundle*.t",
    "clone": "test-clone*.t",
    "hgweb": "test-hgweb*.t",
    "narrow": "test-narrow*.t",
    "convert": "test-convert*.t",
    "tags": "test-tag*.t",
}
#: Where Mercurial lists what is in `.hg`, our folder is among it, and our marks in the store.
_IS_BENIGN = re.compile(
    r"\+\s+(\./)?(\.hg/)?((store/)?(undo\.backup\.)?sourcepulse-(seen|vanished)(\.bck)?|sourcepulse(/.*)?)$"
)
#: Mercurial's runner moves the optional lines of a test when it prints a difference.
_IS_OPTIONAL = re.compile(r" \([\w.-]+ !\)$")

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(2 * PART_LIMIT_SECONDS),
    pytest.mark.skipif(not _FOLDER, reason="MERCURIAL_TESTS names no folder of Mercurial's tests"),
]


@dataclass(frozen=True)
class _Run:
    """What Mercurial's runner reported: of each test that failed the lines that differ from what it expects."""

    passed: int
    changed_lines: dict[str, Counter[str]]


def _run(tests: list[str], folder: Path, line: str, package: Path) -> _Run:
    """Run tests with this line in the hgrc, which names this package."""
    folder.mkdir()
    # The tests expect that Python buffers what it prints.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ["PATH"] = f"{VENV_HG.path.parent}:{environ['PATH']}"
    environ["PYTHONPATH"] = sysconfig.get_path("purelib")
    command = [sys.executable, "run-tests.py", f"--with-hg={VENV_HG.path}", f"-j{os.cpu_count()}", "--json"]
    command += [f"--timeout={ONE_TEST_LIMIT_SECONDS}", f"--outputdir={folder}", f"--tmpdir={folder}/r"]
    command += ["--extra-config-opt", line.format(package=package), *tests]
    limit_s = PART_LIMIT_SECONDS
    with (folder / "log").open("wb") as log:
        subprocess.run(command, cwd=_FOLDER, env=environ, stdout=log, stderr=log, timeout=limit_s, check=False)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8").removeprefix("testreport ="))
    results = Counter(one["result"] for one in report.values())
    failed = {name: one.get("diff", "") for name, one in report.items() if one["result"] == "failure"}
    return _Run(results["success"], {name: _changed_lines(diff, package) for name, diff in failed.items()})


def _changed_lines(diff: str, package: Path) -> Counter[str]:
    lines = diff.replace(str(package), "PACKAGE").splitlines()
    changed = [line for line in lines if line[:1] in ("+", "-") and line[:4] not in ("+++ ", "--- ")]
    return Counter(line for line in changed if not _IS_OPTIONAL.search(line)) or Counter(["no difference, a failure"])


def _names(part: str) -> list[str]:
    return sorted({path.name for pattern in _PARTS[part].split() for path in Path(_FOLDER).glob(pattern)})


@pytest.mark.parametrize(
    ("part", "line"),
    [*((part, _EXTENSION) for part in _PARTS), ("hook", _HOOK), ("push", _HOOK)],
    ids=[*_PARTS, "hook-without-extension", "push-without-extension"],
)
def test_mercurials_own_tests_give_no_other_lines_than_without_us(part: str, line: str, tmp_path: Path) -> None:
    names = _names(part)
    with_us = _run(names, tmp_path / "with", line, EXTENSION_FOLDER)
    assert with_us.passed > 0
    assert [path.read_text() for path in tmp_path.rglob("sourcepulse/lost")] == []
    failed = sorted({name.partition("#")[0] for name in with_us.changed_lines})
    if not failed:
        return
    stand_in = tmp_path / "sourcepulse_hg"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text(_STAND_IN, encoding="utf-8")
    without_us = _run(failed, tmp_path / "without", line, stand_in)
    ours = {
        name: [
            changed
            for changed in lines - without_us.changed_lines.get(name, Counter())
            if not _IS_BENIGN.match(changed)
        ]
        for name, lines in with_us.changed_lines.items()
    }
    assert {name: lines for name, lines in ours.items() if lines} == {}
