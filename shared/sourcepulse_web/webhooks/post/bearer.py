# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bearer token of a hook (RFC 6750), which is in a file of the admin's and read at each attempt."""

from __future__ import annotations

import os
import re
import stat

from sourcepulse.errors import ConfigError

FILE_MAX_BYTES = 16 * 1024
OTHERS_READ = 0o004
#: RFC 6750, section 2.1.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def read_token(path: str) -> str:
    """Return the token in a file; ConfigError, without the token, says what is wrong with the file, not where it is.

    A file that others can read is refused, because an attempt has no place for a warning.
    """
    where = "the file with the bearer token of this webhook"
    try:
        mode, content = _read(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name is not one"
        raise ConfigError(f"{where} cannot be read: {reason}; the admin can correct it") from None
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{where} is not a file; the admin can correct it")
    if mode & OTHERS_READ:
        raise ConfigError(f"others can read {where}; the admin must chmod o-r it")
    token = content.strip()
    if not _TOKEN.fullmatch(token) or len(token) > FILE_MAX_BYTES:
        raise ConfigError(f"{where} must contain the token and nothing else; the admin can correct it")
    return token.decode("ascii")


def _read(path: str) -> tuple[int, bytes]:
    # A pipe must not make the sender wait.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(number).st_mode
        return mode, os.read(number, FILE_MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    finally:
        os.close(number)
