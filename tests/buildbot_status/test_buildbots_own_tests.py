# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Buildbot's own integration tests end with our reporter in every master as they end without it.

They are neither here nor downloaded: the environment variable BUILDBOT_TESTS names the folder `test/integration` of
Buildbot's source distribution, of the version that is in the venv. They need the package `parameterized` besides.
The outboxes show that the reporter was there: each master must have stored events, and nearly each module has masters.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
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
#: They look at configurations and entry points, and make no master.
_WITHOUT_MASTERS = frozenset({"test_configs", "test_setup_entrypoints"})
#: Makes the package that holds the copies put our reporter into each master, once.
_INJECTION = """
import os, uuid, warnings
# The next line makes errors of warnings, and this module has one.
import buildbot.util.ssl
from buildbot.test.util import integration
# Alembic has warnings for how Buildbot configures it, and each would be two errors of each test.
warnings.filterwarnings("ignore", message="No path_separator found", category=DeprecationWarning)

def inject():
    from sourcepulse_buildbot.reporter import PulseStatusPush
    create = integration.TestedMaster.create_master

    def create_master(self, case, reactor, config_dict, basedir=None):
        others = [each for each in config_dict.get("services", []) if not isinstance(each, PulseStatusPush)]
        outbox = os.path.join(os.environ["OUTBOXES"], uuid.uuid4().hex + ".db")
        open(outbox + "-of-a-master", "w").close()
        config_dict["services"] = [*others, PulseStatusPush(name="ci", outbox=outbox)]
        return create(self, case, reactor, config_dict, basedir)

    integration.TestedMaster.create_master = create_master

if os.environ.get("OUTBOXES"):
    inject()
"""
_TEST = re.compile(r"^\s*(?:\S+\.)?(test\w*) \.\.\.\s", re.MULTILINE)
_OUTCOME = re.compile(r"\[(OK|ERROR|FAIL|SKIPPED|TODO|SUCCESS!\?!)\]$", re.MULTILINE)
_COUNT = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)

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
    """Run the tests of a module and give their outcomes, sorted; a test may stand in several classes.

    What trial finds after a test, as a file left open, comes after the test's own outcome: "OK ERROR".
    """
    package = folder / "buildbots_own"
    shutil.copytree(_FOLDER, package)
    (package / "__init__.py").write_text(_INJECTION, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    if outboxes is not None:
        outboxes.mkdir()
        environ["OUTBOXES"] = str(outboxes)
    output = _run(
        [sys.executable, "-m", "twisted.trial", "--reporter=verbose", f"buildbots_own.{module}"], folder, environ
    )
    # Name, text, name, text, after what comes before the first.
    parts = _TEST.split(output.partition("=====")[0])[1:]
    found = sorted((name, " ".join(_OUTCOME.findall(text))) for name, text in zip(parts[::2], parts[1::2], strict=True))
    count = _COUNT.search(output)
    assert count is not None, output
    assert len(found) == int(count[1]) > 0, output
    return found


def _run(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """Run a command and give what it wrote; the workers that it started end with it, whatever becomes of it."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            process.wait(MODULE_LIMIT_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return (folder / "log").read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("module", _modules())
def test_buildbots_own_tests_end_with_the_reporter_as_without(module: str, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    without = _outcomes(module, tmp_path / "without", None)
    outboxes = tmp_path / "outboxes"
    assert _outcomes(module, tmp_path / "with", outboxes) == without
    passed = sum(outcome == "OK" for _, outcome in without)
    all_skipped = {outcome for _, outcome in without} == {"SKIPPED"}
    assert passed or all_skipped, without
    stored = _stored(outboxes)
    assert stored or all_skipped or module in _WITHOUT_MASTERS
    assert [master for master, types in stored.items() if not types] == []
    types = [type_ for of_one in stored.values() for type_ in of_one]
    builds = types.count("build.finished.v1")
    outcomes = Counter(outcome for _, outcome in without)
    print(f"{module}: {dict(outcomes)}, {len(stored)} masters, {builds} builds, {len(types)} events")


def _stored(outboxes: Path) -> dict[str, list[str]]:
    """Return the types of the events that each master stored."""
    found = {}
    for master in outboxes.glob("*-of-a-master"):
        outbox = master.with_name(master.name.removesuffix("-of-a-master"))
        with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as db:
            found[outbox.name] = [type_ for (type_,) in db.execute("SELECT type FROM events")]
    return found
