# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Passwords of new users: each in a file of its own, as the URL that a program needs; RabbitMQ gets a hash."""

from __future__ import annotations

import hashlib
import os
import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sourcepulse.brokers.url import BrokerUrl, host_text
from sourcepulse.errors import ConfigError, SourcePulseError

if TYPE_CHECKING:
    from collections.abc import Callable

HASHING = "rabbit_password_hashing_sha256"
_SALT_BYTES = 4
_PASSWORD_BYTES = 24
_SECRET_MODE = 0o600
_FILE_MAX_BYTES = 64 * 1024


class PasswordFile:
    """The file of one user: one line, a URL with the password, readable by its owner only.

    It is written before the broker hears of the password, and a file that exists is used, so a set-up that was
    interrupted continues with the same password.
    """

    def __init__(self, path: Path, url: BrokerUrl, user: str) -> None:
        self.path = path
        self._url = url
        self._user = user

    def read(self) -> str | None:
        """Return the password, None if there is no file; ConfigError if it is not the URL of this user."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_FILE_MAX_BYTES).decode("utf-8").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"the file {self.path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"the file {self.path} is not UTF-8 text; move it aside") from None
        url = self._parse(text)
        if url.user != self._user or not url.password:
            raise ConfigError(f"the file {self.path} is not the URL of the user {self._user!r}; move it aside")
        return url.password

    def read_or_create(self) -> str:
        """Return the password; create it and its file if there is none."""
        found = self.read()
        if found is not None:
            return found
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self.path, flags, _SECRET_MODE)
            try:
                os.fchmod(fd, _SECRET_MODE)
                os.write(fd, f"{url_text(self._url, self._user, password)}\n".encode())
                os.fsync(fd)
            except OSError:
                # Half a file would be refused as foreign by the next run.
                with suppress(OSError):
                    self.path.unlink()
                raise
            finally:
                os.close(fd)
        except OSError as error:
            raise SourcePulseError(
                f"the file {self.path} of a password cannot be created: {error.strerror}; "
                "name a directory that you may write to with --secrets"
            ) from None
        return password

    def next(self) -> PasswordFile:
        """Return the file beside it in which a new password waits until the broker has it."""
        return PasswordFile(self.path.with_name(f"{self.path.name}.new"), self._url, self._user)

    def replace_by(self, other: PasswordFile) -> None:
        other.path.replace(self.path)

    def _parse(self, text: str) -> BrokerUrl:
        parse: Callable[[str], BrokerUrl] = (
            BrokerUrl.parse_management if self._url.scheme in ("http", "https") else BrokerUrl.parse
        )
        return parse(text)


def url_text(url: BrokerUrl, user: str, password: str) -> str:
    """Return the URL with another login."""
    hosts = ",".join(host_text(host, port) for host, port in url.hosts)
    place = url.path
    if url.scheme not in ("http", "https") and not url.scheme.endswith("+activemq"):
        place = f"/{quote(url.vhost, safe='')}"
    options = f"?{urlencode(url.options, quote_via=quote, safe='/')}" if url.options else ""
    return f"{url.scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{hosts}{place}{options}"


def hashed(password: str, salt: bytes | None = None) -> str:
    """Return the hash of a password as RabbitMQ stores it: base64 of salt and SHA-256 of salt and password."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    return b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def is_hash_of(stored: str, password: str) -> bool:
    """Return whether a stored hash is that of a password."""
    try:
        salt = b64decode(stored, validate=True)[:_SALT_BYTES]
    except ValueError:
        return False
    return secrets.compare_digest(hashed(password, salt), stored)
