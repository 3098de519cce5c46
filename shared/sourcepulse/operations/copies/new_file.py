# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write a file that only its owner may read, and that exists only when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sourcepulse.errors import ConfigError, OutboxWriteError
from sourcepulse.outbox.files import PART_SUFFIX, lock_file
from sourcepulse.outbox.sqlite_file import PRIVATE_MODE, side_files

#: How much is done of how much, in any unit.
Progress = Callable[[int, int], object]


def no_progress(done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def new_file(target: Path, *, force: bool, apart_from: Path) -> Iterator[Path]:
    """Yield the path of an empty file to write, and then move it to its place, synced to the disk.

    An existing file is replaced only with `force`, the outbox itself (`apart_from`) never. ConfigError if that is
    asked for, OutboxWriteError if the file cannot be written; then nothing is left of it.
    """
    _check_free(target, force=force, apart_from=apart_from)
    part = target.with_name(target.name + PART_SUFFIX)
    try:
        for leftover in (part, *side_files(part)):
            leftover.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_MODE))
        yield part
        _sync(part)
        _place(part, target, force=force)
        _sync(target.parent)
    except OSError as error:
        raise OutboxWriteError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for leftover in (part, *side_files(part)):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


def _check_free(target: Path, *, force: bool, apart_from: Path) -> None:
    if not target.parent.is_dir():
        raise ConfigError(f"the folder of {target} does not exist; create it")
    real = Path(os.path.realpath(target))
    if real in (apart_from, lock_file(apart_from), *side_files(apart_from)) or (
        target.exists() and target.samefile(apart_from)
    ):
        raise ConfigError(f"{target} is the outbox itself; name another file")
    if target.is_dir():
        raise ConfigError(f"{target} is a directory; name a file in it")
    if os.path.lexists(target) and not force:
        raise ConfigError(f"{target} exists; name another file, or replace it with --force")


def _place(part: Path, target: Path, *, force: bool) -> None:
    if force:
        for stale in side_files(target):
            # The log of the former file would be applied to this one.
            stale.unlink(missing_ok=True)
        part.replace(target)
        return
    try:
        # Unlike a rename, this never replaces what another process wrote meanwhile.
        target.hardlink_to(part)
    except FileExistsError:
        raise ConfigError(f"{target} was written by another process meanwhile; name another file") from None
    except OSError:
        # A file system without hard links.
        if os.path.lexists(target):
            raise
        part.rename(target)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
