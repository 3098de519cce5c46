# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""hg for the side of a test that is not tested, by chg: Mercurial's own client of an hg that stays loaded."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

#: A server that no test session has ended ends itself.
IDLE_SECONDS = 120
CLOSE_LIMIT_SECONDS = 10

#: They do nothing outside the repository in which they run.
_LOCAL = frozenset(
    {"add", "bookmark", "branch", "commit", "debugbuilddag", "id", "init", "log", "merge", "phase", "tag", "update"}
)


class QuickHg:
    """One hg that stays loaded, with the user's settings in this text."""

    def __init__(self, chg: str, hg: Path, hgrc: str) -> None:
        self._chg = chg
        # A socket's path must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="chg-"))
        (self._folder / "hgrc").write_text(f"{hgrc}[chgserver]\nidletimeout = {IDLE_SECONDS}\n", encoding="utf-8")
        self._environ = {
            "CHGHG": str(hg),
            "CHGSOCKNAME": str(self._folder / "socket"),
            "HGRCPATH": str(self._folder / "hgrc"),
        }

    @property
    def command(self) -> str:
        """The program to call in place of hg."""
        return self._chg

    def environ(self, site: dict[str, str]) -> dict[str, str]:
        """Return the environment of a site, for this program."""
        return {**site, **self._environ}

    def close(self) -> None:
        """End it."""
        subprocess.run(
            [self._chg, "--kill-chg-daemon"],
            env={**os.environ, **self._environ},
            capture_output=True,
            timeout=CLOSE_LIMIT_SECONDS,
            check=False,
        )
        shutil.rmtree(self._folder, ignore_errors=True)


class QuickHgs:
    """Those of a test session."""

    def __init__(self) -> None:
        self._chg = shutil.which("chg")
        self._started: dict[tuple[Path, str], QuickHg] = {}

    def get(self, hg: Path, hgrc: str) -> QuickHg | None:
        """Return that of an hg with these user's settings; None where chg is not installed."""
        if self._chg is None:
            return None
        key = hg, hgrc
        if key not in self._started:
            self._started[key] = QuickHg(self._chg, hg, hgrc)
        return self._started[key]

    def close(self) -> None:
        """End all of them."""
        while self._started:
            self._started.popitem()[1].close()


@functools.cache
def quick_hgs() -> QuickHgs:
    """Return those of this process."""
    return QuickHgs()


def is_for_chg(arguments: tuple[str | bytes | Path, ...]) -> bool:
    """Return whether a command touches no other repository in its own process, and needs no other settings."""
    command = arguments[0]
    words = [os.fsdecode(word) for word in arguments]
    if any(word in {"--config", "--cwd"} for word in words):
        return False
    return command in _LOCAL or (command == "push" and any(word.startswith("ssh://") for word in words))
