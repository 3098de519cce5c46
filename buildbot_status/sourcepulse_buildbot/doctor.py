# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse doctor` checks of a master, from its files: Buildbot itself is neither loaded nor asked."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sourcepulse.operations.doctor.doctor import examine_outbox, situation_of
from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, warning, well
from sourcepulse.operations.doctor.owner import owner_of
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words

_REPORTER = "PulseStatusPush"
#: How much of the end of a log is read.
LOG_TAIL_BYTES = 4 * 1024 * 1024
#: A file system may record times in steps of a second.
CLOCK_STEP_SECONDS = 1.0

#: What a master logs when it has read master.cfg; a failed attempt ends with other words.
_CONFIGURED = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}) \[-\] "
    r"(?:configuration update complete|BuildMaster is running)",
    re.MULTILINE,
)
_STARTED = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4}) \[-\] (?:beginning configuration update|Loading configuration from)",
    re.MULTILINE,
)
_FAILED = re.compile(
    r"configuration update aborted without making any changes|configuration update partially applied|"
    r"BuildMaster startup failed"
)
#: The programs that run a master.
_PROGRAMS = re.compile(rb"buildbot|twistd")


class Reporter(NamedTuple):
    """A reporter in master.cfg; the outbox is None if it is not written there as a plain text."""

    outbox: str | None


def checks(situation: Situation) -> Iterator[Job]:
    """Yield a job for each master that was named, and for one whose folder has the outbox."""
    masters = list(situation.masters)
    beside = None if situation.outbox is None else Path(os.path.realpath(situation.outbox)).parent
    # A folder that this user may not enter is reported with its outbox.
    is_master = beside is not None and os.path.exists(beside / "buildbot.tac")  # noqa: PTH110 - raises nothing
    if is_master and beside is not None and beside not in map(Path.resolve, masters):
        masters.append(beside)
    for master in masters:
        yield Job(id="SP601", about=str(master), run=partial(_master, situation, Path.cwd() / master))


def _master(situation: Situation, basedir: Path) -> Iterator[Finding]:
    config, buildbot = _config_file(basedir), _buildbot(basedir)
    try:
        changed_at = config.stat().st_mtime
        reporters = list(_reporters(ast.parse(config.read_text(encoding="utf-8"))))
    except (OSError, SyntaxError, ValueError) as error:
        yield unchecked("SP601", basedir, f"{config} cannot be read: {error}")
        return
    if not reporters:
        yield warning("SP601", basedir, f"{config} does not name {_REPORTER}", master=basedir, buildbot=buildbot)
        return
    pid = _pid(basedir)
    if pid is None:
        stale = basedir / "twistd.pid"
        values = {"master": basedir, "buildbot": buildbot, "stale": stale if stale.exists() else None}
        found = [broken("SP603", basedir, "no process runs in this folder", **values)]
    else:
        found = list(_read_since(basedir, changed_at, pid))
    for reporter in reporters:
        if reporter.outbox is not None:
            outbox = basedir / reporter.outbox
            if not outbox.parent.is_dir():
                user = owner_of(basedir).name or str(basedir.stat().st_uid)
                found.append(broken("SP604", basedir, f"{outbox.parent} is missing", user=user, folder=outbox.parent))
            elif situation.outbox is None or os.path.realpath(situation.outbox) != os.path.realpath(outbox):
                own = situation_of(situation.config, outbox, now=situation.now)
                # The broker of the reporter may be a secret; its relay runs in the master.
                found += examine_outbox(own)
    yield from found
    if not found:
        yield well("SP601", basedir, "the master runs with the reporter in master.cfg")


def _config_file(basedir: Path) -> Path:
    """Return master.cfg, or what buildbot.tac names instead."""
    try:
        tac = (basedir / "buildbot.tac").read_text(encoding="utf-8")
    except OSError:
        tac = ""
    named = re.search(r"^configfile\s*=\s*r?['\"]([^'\"]+)['\"]", tac, re.MULTILINE)
    return basedir / (named[1] if named else "master.cfg")


def _reporters(tree: ast.AST) -> Iterator[Reporter]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == _REPORTER:
                outbox = next((each.value for each in node.keywords if each.arg == "outbox"), None)
                yield Reporter(outbox.value if isinstance(outbox, ast.Constant) and type(outbox.value) is str else None)


def _pid(basedir: Path) -> int | None:
    """Return the process of a master that runs; None if there is none. One in the foreground has no twistd.pid."""
    pid = _pid_in_file(basedir)
    if pid is not None and _is_master(Path(f"/proc/{pid}"), basedir) is not False:
        return pid
    found = (process for process in Path("/proc").glob("[0-9]*") if _is_master(process, basedir))
    return next((int(process.name) for process in found), None)


def _pid_in_file(basedir: Path) -> int | None:
    try:
        return int((basedir / "twistd.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _is_master(process: Path, basedir: Path) -> bool | None:
    """Return whether a process is this master, whose number may be another's by now; None if it is another user's."""
    try:
        if not _PROGRAMS.search((process / "cmdline").read_bytes()):
            return False
        return str((process / "cwd").readlink()) == os.path.realpath(basedir)
    except PermissionError:
        return None
    except OSError:
        return False


def _read_since(basedir: Path, changed_at: float, pid: int) -> Iterator[Finding]:
    """Compare the time of master.cfg with the last time that the master read it, in its log."""
    log, buildbot = _tail(basedir / "twistd.log"), _buildbot(basedir)
    done = list(_CONFIGURED.finditer(log or ""))
    if log is None or not done:
        yield unchecked("SP602", basedir, "there is no twistd.log that says when master.cfg was read")
        return
    has_file = _pid_in_file(basedir) == pid
    words = ["buildbot", "reconfig", str(basedir)]
    reconfig = owner_of(basedir).command(*words) if has_file else shell_words(["kill", "-HUP", pid])
    if _FAILED.search(log[done[-1].end() :]):
        found = "the last attempt to read master.cfg failed; twistd.log has why"
        yield broken("SP602", basedir, found, master=basedir, buildbot=buildbot, reconfig=reconfig)
        return
    # When it began: what was changed while it was read was not read.
    begun = [match for match in _STARTED.finditer(log) if match.start() < done[-1].start()]
    at = datetime.strptime((begun or done)[-1][1], "%Y-%m-%d %H:%M:%S%z").timestamp()
    if changed_at > at + CLOCK_STEP_SECONDS:
        found = f"master.cfg was changed {changed_at - at:.0f} s after the master read it"
        yield broken("SP602", basedir, found, master=basedir, buildbot=buildbot, reconfig=reconfig)


def _tail(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            return file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return None


def _buildbot(basedir: Path) -> Words:
    """Return the program of a master, as its owner, because it runs what master.cfg has."""
    return owner_of(basedir).command("buildbot")
