# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Buildbot's own integration tests end with our reporter in every master as they end without it.

They are neither here nor downloaded: the environment variable BUILDBOT_TESTS names the folder `test/integration` of
Buildbot's source distribution, of the version that is in the venv. They need the package `parameterized` besides.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

MODULE_LIMIT_SECONDS = 600

_FOLDER = os.environ.get("BUILDBOT_TESTS", "")
#: They need what is not installed here: a browser, a running service, an old database, another package.
_LEFT_OUT = frozenset(
    {
        "test_upgrade",
        "test_www",
        "test_try_client_e2e",
        "test_telegram_bot",
        "test_steps_configurable",
        "test_integration_secrets_with_vault_hvac",
    }
)
#: Makes the package that holds the copies put our reporter into each master, once.
_INJECTION = """
import os, uuid
# The next line makes errors of warnings, and this module has one.
import buildbot.util.ssl
from buildbot.test.util import integration

def inject():
    from sourcepulse_buildbot.reporter import PulseStatusPush
    create = integration.TestedMaster.create_master

    def create_master(self, case, reactor, config_dict, basedir=None):
        others = [each for each in config_dict.get("services", []) if not isinstance(each, PulseStatusPush)]
        outbox = os.path.join(os.environ["OUTBOXES"], uuid.uuid4().hex)
        config_dict["services"] = [*others, PulseStatusPush(name="ci", outbox=outbox)]
        return create(self, case, reactor, config_dict, basedir)

    integration.TestedMaster.create_master = create_master

if os.environ.get("OUTBOXES"):
    inject()
"""
_OUTCOME = re.compile(r"^\s*(?:\S+\.)?(test\w*) \.\.\.\s.*?\[(\w+)\]", re.MULTILINE | re.DOTALL)

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3 * MODULE_LIMIT_SECONDS),
    pytest.mark.skipif(not _FOLDER, reason="BUILDBOT_TESTS names no folder of Buildbot's integration tests"),
]


def _modules() -> list[str]:
    if not _FOLDER:
        return []
    folder = Path(_FOLDER)
    found = [path.relative_to(folder).with_suffix("") for path in sorted(folder.rglob("test_*.py"))]
    return [".".join(path.parts) for path in found if path.name not in _LEFT_OUT and path.parts[0] != "worker"]


def _outcomes(module: str, folder: Path, outboxes: Path | None) -> list[tuple[str, str]]:
    """Run the tests of a module and give their outcomes, sorted; a test may stand in several classes."""
    package = folder / "buildbots_own"
    shutil.copytree(_FOLDER, package)
    (package / "__init__.py").write_text(_INJECTION, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    if outboxes is not None:
        outboxes.mkdir()
        environ["OUTBOXES"] = str(outboxes)
    result = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "--reporter=verbose", f"buildbots_own.{module}"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=MODULE_LIMIT_SECONDS,
        check=False,
    )
    summary = result.stdout.partition("=====")[0]
    found = sorted(_OUTCOME.findall(summary))
    assert found, result.stdout + result.stderr
    return found


@pytest.mark.parametrize("module", _modules())
def test_buildbots_own_tests_end_with_the_reporter_as_without(module: str, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    without = _outcomes(module, tmp_path / "without", None)
    outboxes = tmp_path / "outboxes"
    assert _outcomes(module, tmp_path / "with", outboxes) == without
    passed = sum(outcome == "OK" for _, outcome in without)
    assert passed or {outcome for _, outcome in without} == {"SKIPPED"}, without
    print(f"{module}: {len(without)} tests, {passed} OK, {_stored(outboxes)} events")


def _stored(outboxes: Path) -> int:
    count = 0
    for path in outboxes.iterdir():
        if path.suffix == "":
            with closing(sqlite3.connect(path)) as db:
                count += db.execute("SELECT count(*) FROM events").fetchone()[0]
    return count
