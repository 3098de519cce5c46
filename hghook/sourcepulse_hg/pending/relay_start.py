# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Start a relay that nobody waits for: a process of its own that holds none of the hook's pipes."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import sys
import time
from contextlib import suppress

from sourcepulse.outbox.files import is_locked, try_lock
from sourcepulse.relay.on_demand import START_SECONDS, are_others, failed_start, identity, open_note, start_path

PROGRAM = "sourcepulse"
#: The relay ends when nothing came for so long; starting one costs the hook about a millisecond.
IDLE_EXIT_SECONDS = 30

#: The shell ends at once, so the relay has no parent that would have to wait for it.
#: A second shell keeps the lock of the start, its descriptor 3, until the relay has had time to get its own.
_DETACH = (
    'cd / && ( "$@" 3<&- & relay=$!; n=0; while [ $n -lt 10 ] && kill -0 $relay 2>/dev/null; '
    "do sleep 0.5; n=$((n+1)); done ) & exit 0"
)
_START_SUFFIX = b".relay.starting"
#: Out of the way of those that the child gets.
_LEAST_LOCK_FD = 10
_FIRST_OTHER_FD = 3
_TAKEN = -1


def start_relay(outbox: bytes, *, broker: str | None, broker_file: bytes | None) -> str | None:
    """Start `sourcepulse relay` for an outbox unless one runs; give a sentence if that is impossible.

    The URL of the broker goes through the environment, where only the same user can see it.
    """
    place = os.fsdecode(outbox)
    settings = identity(broker=broker, broker_file=None if broker_file is None else os.fsdecode(broker_file))
    is_changed = are_others(place, settings)
    if not os.path.exists(outbox) or (_relay_runs(outbox) and not is_changed):
        return None
    program = find_program()
    if program is None:
        return _refuse(place, f"no relay was started: {no_program()}")
    environment = relay_environment(broker=broker, broker_file=broker_file)
    # What was corrected does not wait for the start of a relay by the old settings.
    lock = None if is_changed else _start_lock(outbox)
    if lock is _TAKEN:
        # The hook of another push is starting one, which finds our events as well.
        return None
    arguments = [program, "relay", "--outbox", os.fsdecode(outbox), "--idle-exit", str(IDLE_EXIT_SECONDS)]
    said = _open_said(place)
    try:
        child = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _DETACH, "sh", *arguments],
            environment,
            file_actions=_file_actions(said, lock),
            setsid=True,
        )
        os.waitpid(child, 0)
    except OSError as error:
        return _refuse(place, f"no relay was started: {error}")
    finally:
        for opened in (said, lock):
            if opened is not None:
                os.close(opened)
    return None


def relay_environment(*, broker: str | None, broker_file: bytes | None) -> dict[bytes, bytes]:
    """Return the environment of a program of ours that goes by the settings of the hgrc."""
    environment = dict(os.environb)
    for name in (b"SOURCEPULSE_BROKER", b"SOURCEPULSE_BROKER_FILE", b"SOURCEPULSE_OUTBOX"):
        environment.pop(name, None)
    if broker_file is not None:
        environment[b"SOURCEPULSE_BROKER_FILE"] = broker_file
    elif broker is not None:
        environment[b"SOURCEPULSE_BROKER"] = broker.encode("utf-8", "surrogateescape")
    return environment


def failure_of_last_start(outbox: bytes) -> str | None:
    """Return the reason why the relay that was started last does not run, None if it does or was not needed."""
    if not os.path.exists(outbox) or _relay_runs(outbox):
        return None
    return failed_start(os.fsdecode(outbox), older_than_s=START_SECONDS, now=time.time())


def _open_said(outbox: str) -> int | None:
    """Open the file for what the shell or the relay says before the relay runs: nobody else would hear it."""
    try:
        return open_note(start_path(outbox))
    except OSError:
        return None


def _start_lock(outbox: bytes) -> int | None:
    """Return a descriptor that has the lock of the start, `_TAKEN` if another process has it, None without a lock."""
    try:
        opened = os.open(
            os.path.realpath(outbox) + _START_SUFFIX, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o664
        )
    except OSError:
        # One relay too many does no harm.
        return None
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _LEAST_LOCK_FD) if try_lock(opened) else _TAKEN
    except OSError:
        return None
    finally:
        os.close(opened)


def _relay_runs(outbox: bytes) -> bool:
    """Return whether a process holds the lock of the outbox's relay."""
    try:
        # Where the relay has it: beside the file itself, if the outbox is a link.
        return is_locked(os.path.realpath(outbox) + b".relay.lock")
    except OSError:
        return False


def _file_actions(said: int | None, lock: int | None) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
    # An ssh push is over only when nobody holds its pipes any more.
    null: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(_FIRST_OTHER_FD)
    ]
    if said is not None:
        null.append((os.POSIX_SPAWN_DUP2, said, 2))
    others = [(os.POSIX_SPAWN_CLOSE, fd) for fd in _open_descriptors() if fd >= _FIRST_OTHER_FD and fd != lock]
    if lock is None:
        return null + others
    return [*null, *others, (os.POSIX_SPAWN_DUP2, lock, _FIRST_OTHER_FD), (os.POSIX_SPAWN_CLOSE, lock)]


def _open_descriptors() -> list[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(folder) if name.isdigit()]
        except OSError:
            continue
    return list(range(_FIRST_OTHER_FD, 256))


def find_program() -> str | None:
    """Find the program of this installation: beside the interpreter, in the venv of this file, on PATH."""
    for path in _places():
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    return shutil.which(PROGRAM)


def no_program() -> str:
    """Return why no program of this installation was found."""
    for path in _places():
        if os.path.isabs(path) and os.path.exists(path):
            return f"the user {_user()} may not execute the program {path}"
    return (
        f"the user {_user()} finds no program {PROGRAM!r} beside {sys.executable}, beside the extension or on PATH; "
        "install it where that user may execute it"
    )


def _places() -> list[str]:
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    folders = [
        os.path.dirname(sys.executable or ""),
        # <venv>/lib/pythonX.Y/site-packages/sourcepulse_hg
        os.path.join(here, "..", "..", "..", "..", "bin"),
        # <checkout>/hghook/sourcepulse_hg
        os.path.join(here, "..", "..", ".venv", "bin"),
    ]
    return [os.path.normpath(os.path.join(folder, PROGRAM)) for folder in folders]


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _refuse(outbox: str, problem: str) -> str:
    """Keep the problem where `status` looks for it, and return it."""
    said = _open_said(outbox)
    if said is not None:
        with suppress(OSError):
            os.write(said, f"{problem}\n".encode("utf-8", "backslashreplace"))
        os.close(said)
    return problem
