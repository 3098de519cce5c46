# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Start a relay as a detached process that holds none of the hook's pipes, so the push does not wait for it."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import sys
import time
from contextlib import suppress

from sourcepulse.outbox.files import try_lock
from sourcepulse.relay.on_demand import (
    START_SECONDS,
    are_others,
    failed_start,
    identity,
    open_note,
    relay_runs,
    start_path,
)

PROGRAM = "sourcepulse"
#: The relay exits after this long without work; starting one costs the hook about a millisecond.
IDLE_EXIT_SECONDS = 30

#: The shell exits at once, so no process has to wait for the relay.
#: A second shell holds the start lock, its descriptor 3, until the relay has had time to acquire its own lock.
_DETACH = (
    'cd / && ( "$@" 3<&- & relay=$!; n=0; while [ $n -lt 10 ] && kill -0 $relay 2>/dev/null; '
    "do sleep 0.5; n=$((n+1)); done ) & exit 0"
)
_START_SUFFIX = b".relay.starting"
#: Above the descriptors that the child gets.
_LEAST_LOCK_FD = 10
_FIRST_OTHER_FD = 3
_TAKEN = -1


def start_relay(outbox: bytes, *, broker: str | None, broker_file: bytes | None) -> str | None:
    """Start `sourcepulse relay` for an outbox unless one is running; return the problem if that is impossible.

    The URL of the broker is passed in the environment, which only the same user can read.
    """
    path = os.fsdecode(outbox)
    is_changed = are_others(path, identity(broker=broker, broker_file=broker_file))
    if not os.path.exists(outbox) or (relay_runs(path) and not is_changed):
        return None
    program = find_program()
    if program is None:
        return _refuse(path, f"no relay was started: {no_program()}")
    environment = relay_environment(broker=broker, broker_file=broker_file)
    # Corrected settings do not wait for a relay that is being started with the old ones.
    lock = None if is_changed else _start_lock(outbox)
    if lock is _TAKEN:
        # The hook of another push is starting a relay, which will find our events as well.
        return None
    arguments = [program, "relay", "--outbox", path, "--idle-exit", str(IDLE_EXIT_SECONDS)]
    errors = _open_error_output(path)
    try:
        child = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _DETACH, "sh", *arguments],
            environment,
            file_actions=_file_actions(errors, lock),
            setsid=True,
        )
        os.waitpid(child, 0)
    except OSError as error:
        return _refuse(path, f"no relay was started: {error}")
    finally:
        for opened in (errors, lock):
            if opened is not None:
                os.close(opened)
    return None


def relay_environment(*, broker: str | None, broker_file: bytes | None) -> dict[bytes, bytes]:
    """Return the environment that passes the broker in the hgrc to one of our programs."""
    environment = dict(os.environb)
    for name in (b"SOURCEPULSE_BROKER", b"SOURCEPULSE_BROKER_FILE", b"SOURCEPULSE_OUTBOX"):
        environment.pop(name, None)
    # Empty: the hgrc decides, not a default configuration file.
    environment.setdefault(b"SOURCEPULSE_CONFIG", b"")
    if broker_file is not None:
        environment[b"SOURCEPULSE_BROKER_FILE"] = broker_file
    elif broker is not None:
        environment[b"SOURCEPULSE_BROKER"] = broker.encode("utf-8", "surrogateescape")
    return environment


def failure_of_last_start(outbox: bytes) -> str | None:
    """Return why the relay that was started last is not running; None if it is, or was not needed."""
    if not os.path.exists(outbox) or relay_runs(os.fsdecode(outbox)):
        return None
    return failed_start(os.fsdecode(outbox), older_than_s=START_SECONDS, now=time.time())


def _open_error_output(outbox: str) -> int | None:
    """Open the file for stderr of the shell and the relay until the relay runs; it would be lost otherwise."""
    try:
        return open_note(start_path(outbox))
    except OSError:
        return None


def _start_lock(outbox: bytes) -> int | None:
    """Return a descriptor that holds the start lock, `_TAKEN` if another process holds it, None without a lock."""
    try:
        opened = os.open(
            os.path.realpath(outbox) + _START_SUFFIX, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o664
        )
    except OSError:
        # Start without the lock, because a superfluous relay does no harm.
        return None
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _LEAST_LOCK_FD) if try_lock(opened) else _TAKEN
    except OSError:
        return None
    finally:
        os.close(opened)


def _file_actions(errors: int | None, lock: int | None) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
    # An ssh push ends only when no process holds its pipes.
    null: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(_FIRST_OTHER_FD)
    ]
    if errors is not None:
        null.append((os.POSIX_SPAWN_DUP2, errors, 2))
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
    """Return the program `sourcepulse`: beside the interpreter, in the venv of this file, or on PATH."""
    for path in _program_paths():
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    return shutil.which(PROGRAM)


def no_program() -> str:
    """Return the message for a program that was not found or may not be executed."""
    for path in _program_paths():
        if os.path.isabs(path) and os.path.exists(path):
            return f"the user {_user()} may not execute the program {path}"
    return (
        f"the user {_user()} has no program {PROGRAM!r} beside {sys.executable}, beside the extension or on PATH; "
        "install it where that user may execute it"
    )


def _program_paths() -> list[str]:
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
    """Record the problem for `sourcepulse status` and return it."""
    errors = _open_error_output(outbox)
    if errors is not None:
        with suppress(OSError):
            os.write(errors, f"{problem}\n".encode("utf-8", "backslashreplace"))
        os.close(errors)
    return problem
