# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Files beside an outbox: the settings of its relay on demand, so that a relay with newer ones can replace it.

Another holds the error output of such a relay until it runs, because it has no terminal. The hook imports this:
standard library only.
"""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from sourcepulse.outbox.files import is_locked

#: The digest is kept so short that it cannot help to guess a password.
_DIGEST_BYTES = 2
_SALT_BYTES = 8
_LOCK_SUFFIX = ".relay.lock"
_SETTINGS_SUFFIX = ".relay.settings"
_START_SUFFIX = ".relay.start"
_READ_BYTES = 4_096
_MODE = 0o660
#: A relay that does not run after this failed to start.
START_SECONDS = 1.0
#: How much of a relay's error output is repeated.
WORDS_MAX_CHARACTERS = 300


def settings_path(outbox: str) -> str:
    """Return the path of the file with a digest of the settings that the relay on demand uses, or is asked to use."""
    return os.path.realpath(outbox) + _SETTINGS_SUFFIX


def start_path(outbox: str) -> str:
    """Return the path of the file with the error output of a relay that was started and does not run yet."""
    return os.path.realpath(outbox) + _START_SUFFIX


def write_settings(outbox: str, settings: str) -> None:
    """Ask for a relay with these settings; a relay with other settings exits. Never raises."""
    salt = os.urandom(_SALT_BYTES).hex()
    with suppress(OSError):
        fd = open_note(settings_path(outbox))
        try:
            os.write(fd, f"{salt} {_digest(salt, settings)}\n".encode())
        finally:
            os.close(fd)


def forget_settings(outbox: str) -> None:
    """Make no relay give way: an admin runs this one. Never raises."""
    with suppress(OSError):
        Path(settings_path(outbox)).unlink()


def is_on_demand(outbox: str) -> bool:
    """Return whether the last relay of an outbox was started by a push, as the next one will be."""
    return Path(settings_path(outbox)).exists()


def are_others(outbox: str, settings: str) -> bool:
    """Return whether the relay on demand uses other settings; False if that is unknown."""
    salt, _, digest = _read(settings_path(outbox)).partition(" ")
    return bool(digest.strip()) and digest.strip() != _digest(salt, settings)


def relay_runs(outbox: str) -> bool:
    """Return whether a relay serves an outbox now; False if its lock cannot be read."""
    try:
        # The relay's lock is beside the real file if the outbox is a link.
        return is_locked(os.path.realpath(outbox) + _LOCK_SUFFIX)
    except OSError:
        return False


def open_note(path: str) -> int:
    """Open an empty file beside an outbox, writable by the group as well; OSError if that fails."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    with suppress(OSError):
        os.fchmod(fd, Path(path).parent.stat().st_mode & _MODE)
    return fd


def start_ended(outbox: str) -> None:
    """Record that the relay runs: its later output is not kept in that file. Never raises."""
    path = start_path(outbox)
    with suppress(OSError):
        noted = Path(path).lstat()
        said = os.fstat(2)
        if (noted.st_dev, noted.st_ino) == (said.st_dev, said.st_ino):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 2)
            os.close(null)
        Path(path).unlink()


def failed_start(outbox: str, *, older_than_s: float, now: float) -> str | None:
    """Return why the last relay failed to start; None if it started, or was launched just now."""
    path = start_path(outbox)
    try:
        started_at = Path(path).lstat().st_mtime
    except OSError:
        return None
    if 0 <= now - started_at < older_than_s:
        return None
    lines = [line.strip() for line in _read(path).splitlines() if line.strip()]
    words = lines[-1].removeprefix("sourcepulse: ") if lines else "it exited, or was killed, without a message"
    return "".join(c if c.isprintable() else "?" for c in words)[:WORDS_MAX_CHARACTERS]


def forget_failed_start(outbox: str) -> None:
    """Forget why the last relay failed to start, because an admin corrected that. Never raises."""
    with suppress(OSError):
        Path(start_path(outbox)).unlink()


def _digest(salt: str, settings: str) -> str:
    raw = settings.encode("utf-8", "surrogateescape")
    return blake2b(raw, key=salt.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, _READ_BYTES, max(0, size - _READ_BYTES)).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def identity(*, broker: str | None, broker_file: str | bytes | None) -> str:
    """Return a text that identifies the broker settings; the relay itself reads the file's content again."""
    return f"file {os.fsdecode(broker_file)}" if broker_file else f"url {broker}"
