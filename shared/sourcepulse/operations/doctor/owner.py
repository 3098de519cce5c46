# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The owner of a place: root runs the programs of others, which read their settings, as they and not as root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sourcepulse.operations.doctor.table import Words, shell_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user; the name is None if the system knows only the number."""

    uid: int
    gid: int
    name: str | None
    home: str

    @property
    def is_another(self) -> bool:
        """Whether this process is root and can become this user."""
        return self.uid != 0 and os.geteuid() == 0

    @property
    def groups(self) -> list[int]:
        """All groups of the user."""
        return [self.gid] if self.name is None else os.getgrouplist(self.name, self.gid)

    def command(self, *words: str) -> Words:
        """Return a command that runs as this user, if root is to paste it."""
        return shell_words([*self._prefix(), *words])

    def environ(self) -> Mapping[str, str]:
        """Return the environment of a program that runs as this user; nothing of root's but the path."""
        name = self.name or str(self.uid)
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "HOME": self.home, "USER": name, "LOGNAME": name, "HGENCODING": "utf-8"}

    def _prefix(self) -> Iterator[str]:
        if self.is_another and self.name is not None:
            yield from ("runuser", "-u", self.name, "--")
        elif self.is_another:
            yield from ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--")


def owner_of(path: Path) -> Owner:
    """Return the owner of a file or a folder; OSError if it cannot be looked at."""
    status = path.stat()
    try:
        user = pwd.getpwuid(status.st_uid)
    except KeyError:
        return Owner(uid=status.st_uid, gid=status.st_gid, name=None, home="/")
    return Owner(uid=user.pw_uid, gid=user.pw_gid, name=user.pw_name, home=user.pw_dir)
