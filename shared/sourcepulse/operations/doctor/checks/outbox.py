# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: whether it is there, sound, writable for those who share it, and has room."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sourcepulse.errors import NothingThereError, OutboxDamagedError, OutboxForeignError, OutboxLockedError
from sourcepulse.events.event import PUBLIC
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
#: Of the units, and of the installation for Mercurial; the first that exists owns, and shares, a missing folder.
_SERVICE_USERS = ("sourcepulse",)
_SHARING_GROUPS = ("hg", "sourcepulse")
#: Of a line of /proc/locks.
_LOCK_COLUMNS = 8
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
    try:
        path.stat()
    except FileNotFoundError:
        yield _missing(situation, path)
        return
    except PermissionError:
        yield _closed_to_us(situation, path, "this user may not enter a folder on the way to it")
        return
    found = [*_problems(situation, path)]
    if not _is_private(situation, path):
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


def _is_private(situation: Situation, path: Path) -> bool:
    """Return whether the outbox is for its owner alone, as the modes show, or that of a source that does not share it.

    In a folder that a group shares, only an outbox that cannot be read is judged by its mode, which may be a mistake.
    """
    is_shared_folder = bool(_seen_folder(path).stat().st_mode & stat.S_IWGRP)
    try:
        is_closed = not path.stat().st_mode & _GROUP_WRITES
    except OSError:
        return not is_shared_folder
    if is_closed and (situation.state is None or not is_shared_folder):
        return True
    sources = situation.state.sources if situation.state else ()
    return any(source.startswith(_PRIVATE_SOURCES) for source in sources) or bool(situation.origins("bugzilla"))


def _sharing(path: Path) -> Iterator[Finding]:
    """Look at the modes, because root may do everything, whatever they are."""
    folder = path.parent.stat()
    if not folder.st_mode & stat.S_IWGRP:
        return
    wrong = []
    for file in _files(path):
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
        yield _locked(path, str(error))
    elif _is_read_only(path):
        yield broken("SP118", path, "its file system is mounted read-only", folder=path.parent)
    elif error is not None and not isinstance(error, NothingThereError):
        yield _closed_to_us(situation, path, str(error))
    elif _is_locked_for_long(lock_file(path)):
        found = f"a process holds the writers' lock for longer than {LOCKED_LONG_SECONDS:g} s"
        yield _locked(path, found)
    elif closed := [file for file in _files(path) if os.path.lexists(file) and not os.access(file, os.R_OK | os.W_OK)]:
        yield _closed_to_us(situation, path, f"this user may not write to {', '.join(file.name for file in closed)}")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield _closed_to_us(situation, path, f"this user may not write to {path.parent}")


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


def _missing(situation: Situation, path: Path) -> Finding:
    """Return the finding for an outbox that is not there; its folder may be missing as well."""
    folder = path.parent
    # Without a broker there is nowhere to publish to, which is a finding of its own.
    options = situation.options() if PUBLIC in situation.places else None
    if folder.is_dir():
        return warning("SP110", path, "the file does not exist", outbox=path, folder=None, options=options)
    owner = next((name for name in _SERVICE_USERS if _exists(pwd.getpwnam, name)), _user(os.geteuid()))
    group = next((name for name in _SHARING_GROUPS if _exists(grp.getgrnam, name)), owner)
    found = f"its folder {folder} does not exist either"
    return warning("SP110", path, found, outbox=path, folder=folder, user=owner, group=group, options=options)


def _closed_to_us(situation: Situation, path: Path, found: str) -> Finding:
    """Return the finding for an outbox that keeps this user out; one for its owner alone is not to be opened."""
    files = [file for file in _files(path) if os.path.lexists(file)]
    folder = _seen_folder(path)
    owner = (path if _can_be_seen(path) else folder).stat().st_uid
    if _is_private(situation, path):
        foreign = [file for file in files if file.lstat().st_uid != owner]
        if owner == os.geteuid() and foreign:
            return broken("SP119", path, found, user=_user(owner), files=foreign)
        why = f"it is for its owner alone: {found}; run the doctor as {_user(owner)}, or as root"
        return unchecked("SP112", path, why)
    return broken("SP112", path, found, group=_group(folder.stat().st_gid), folder=folder, files=files or None)


def _locked(path: Path, found: str) -> Finding:
    """Return the finding for a lock that is held for long, with the processes that the kernel lists for it."""
    holders = lock_holders(_files(path))
    pids = ",".join(map(str, holders)) or None
    lock = None if holders else lock_file(path)
    names = ", ".join(map(str, holders))
    held = f"; held by process {names}" if holders else "; the kernel lists no process of this machine"
    return broken("SP113", path, found + held, pids=pids, lock=lock)


def lock_holders(files: Sequence[Path]) -> list[int]:
    """Return the processes that hold an exclusive lock of one of these files."""
    places = {}
    for file in files:
        with suppress(OSError):
            status = file.stat()
            places[f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"] = file
    try:
        rows = [row.split() for row in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    except OSError:
        return []
    # NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END, and NUMBER: -> ... for one that waits.
    held = [row for row in rows if len(row) >= _LOCK_COLUMNS and row[1] != "->"]
    exclusive = [(int(row[4]), row[5]) for row in held if row[3] == "WRITE"]
    pids = {pid for pid, place in exclusive if place in places}
    # The kernel names the device of some file systems, such as btrfs, otherwise than stat does.
    inodes = {place.rpartition(":")[2]: file for place, file in places.items()}
    for pid, place in exclusive:
        same = inodes.get(place.rpartition(":")[2])
        if same is not None and _has_open(pid, same):
            pids.add(pid)
    return sorted(pid for pid in pids if pid > 0)


def _has_open(pid: int, file: Path) -> bool:
    with suppress(OSError):
        return any(str(each.readlink()) == str(file) for each in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _is_read_only(path: Path) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return False


def _files(path: Path) -> list[Path]:
    return [path, *side_files(path), lock_file(path)]


def _seen_folder(path: Path) -> Path:
    """Return the folder of a file, or the nearest one above it whose mode this user may see."""
    return next(each for each in path.parents if _can_be_seen(each))


def _can_be_seen(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _exists(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except KeyError:
        return False
    return True


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _problems(situation: Situation, path: Path) -> Iterator[Finding]:
    for problem in situation.state.problems if situation.state else ():
        if problem["name"] != SECOND_RELAY:
            yield broken("SP117", path, f"{problem['name']}: {problem['message']}")


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
