# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: whether it is there, sound, writable for those who share it, and has room."""

from __future__ import annotations

import grp
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sourcepulse.errors import NothingThereError, OutboxDamagedError, OutboxForeignError, OutboxLockedError
from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, warning, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.outbox.files import is_locked, lock_file
from sourcepulse.outbox.sqlite_file import side_files
from sourcepulse.relay.health.second_relay import SECOND_RELAY

#: Less cannot hold a batch of events.
FREE_MIN_BYTES = 512 * 1024
#: No writer of ours holds the lock for longer.
LOCKED_LONG_SECONDS = 1.5
LOCK_POLL_SECONDS = 0.01
#: Less than both of these is almost full.
FREE_LOW_BYTES = 1024**3
FREE_LOW_SHARE = 0.05

#: They create their outbox for its owner alone.
_PRIVATE_SOURCES = ("bugzilla://", "buildbot://")
_GROUP_WRITES = stat.S_IRGRP | stat.S_IWGRP


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield the job that looks at the outbox."""
    if situation.outbox is not None:
        path = situation.outbox
        yield Job(id="SP110", about=str(path), run=lambda: _outbox(situation, path))


def _outbox(situation: Situation, path: Path) -> Iterator[Finding]:
    path = Path(os.path.realpath(path))
    full = list(_room(path))
    yield from full
    if not path.exists():
        yield warning("SP110", path, "the file does not exist", outbox=path)
        return
    found = [*_problems(situation, path)]
    if not _is_private(situation):
        found += _sharing(path)
    if not any(finding.id == "SP115" for finding in full):
        found += _opened(situation, path)
    elif situation.outbox_problem is not None:
        found.append(unchecked("SP111", path, "its content cannot be read while its disk is full"))
    yield from found
    if not found and not full:
        yield well("SP110", path, "sound, and writable for those who share it")


def _room(path: Path) -> Iterator[Finding]:
    try:
        disk = os.statvfs(path.parent)
    except OSError as error:
        yield unchecked("SP115", path.parent, f"the folder cannot be looked at: {error.strerror}")
        return
    # Only root can use the reserve.
    free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    if free < FREE_MIN_BYTES:
        yield broken("SP115", path, f"{free} bytes are free in {path.parent}", folder=path.parent)
    elif disk.f_files and not disk.f_favail:
        yield broken("SP115", path, f"no inodes are free in {path.parent}", folder=path.parent)
    elif free < min(FREE_LOW_BYTES, FREE_LOW_SHARE * whole):
        yield warning("SP116", path, f"{free // 1024**2} MiB are free in {path.parent}", folder=path.parent)


def _is_private(situation: Situation) -> bool:
    """Return whether the outbox is that of a source that does not share it."""
    sources = situation.state.sources if situation.state else ()
    return any(source.startswith(_PRIVATE_SOURCES) for source in sources) or bool(situation.origins("bugzilla"))


def _sharing(path: Path) -> Iterator[Finding]:
    """Look at the modes, because root may do everything, whatever they are."""
    folder = path.parent.stat()
    if not folder.st_mode & stat.S_IWGRP:
        return
    wrong = []
    for file in (path, *side_files(path), lock_file(path)):
        try:
            status = file.stat()
        except OSError:
            continue
        if status.st_mode & _GROUP_WRITES != _GROUP_WRITES or status.st_gid != folder.st_gid:
            wrong.append(file)
    if wrong:
        modes = ", ".join(f"{file.name} {stat.filemode(file.stat().st_mode)}" for file in wrong)
        found = f"the group {_group(folder.st_gid)} may write to the folder, but not to {modes}"
        yield broken("SP114", path, found, group=_group(folder.st_gid), files=wrong)


def _opened(situation: Situation, path: Path) -> Iterator[Finding]:
    error = situation.outbox_problem
    if isinstance(error, OutboxForeignError):
        yield unchecked("SP111", path, str(error))
    elif isinstance(error, OutboxDamagedError):
        yield broken("SP111", path, str(error), outbox=path)
    elif isinstance(error, OutboxLockedError):
        yield broken("SP113", path, str(error), lock=lock_file(path).name)
    elif error is not None and not isinstance(error, NothingThereError):
        yield _closed_to_us(path, str(error))
    elif _is_locked_for_long(lock_file(path)):
        found = f"a process holds the writers' lock for longer than {LOCKED_LONG_SECONDS:g} s"
        yield broken("SP113", path, found, lock=lock_file(path).name)
    elif not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        yield _closed_to_us(path, "this user may not write to it")


def _is_locked_for_long(lock: Path) -> bool:
    """Return whether one writer holds the lock all the time; ours need it for milliseconds."""
    until = time.monotonic() + LOCKED_LONG_SECONDS
    try:
        while is_locked(lock):
            if time.monotonic() >= until:
                return True
            time.sleep(LOCK_POLL_SECONDS)
    except OSError:
        # It is another user's, which is reported below.
        return False
    return False


def _closed_to_us(path: Path, found: str) -> Finding:
    files = [file for file in (path, *side_files(path), lock_file(path)) if file.exists()]
    folder = path.parent
    return broken("SP112", path, found, group=_group(folder.stat().st_gid), folder=folder, files=files)


def _problems(situation: Situation, path: Path) -> Iterator[Finding]:
    for problem in situation.state.problems if situation.state else ():
        if problem["name"] != SECOND_RELAY:
            yield broken("SP117", path, f"{problem['name']}: {problem['message']}")


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
