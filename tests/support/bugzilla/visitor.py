# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An anonymous visitor of a real Bugzilla, who reads all pages of a bug without a login."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_SCRIPT = Path(__file__).with_name("visitor.pl")
_ENDS_WITHIN_SECONDS = 30.0
_WORD = re.compile(r"TOKEN\w+")


class Pages(NamedTuple):
    """The words of the steps on the pages of a bug: as it is now, and in its history."""

    now: frozenset[str]
    history: frozenset[str]


class Visitor:
    """Runs the scripts of a tree under taint mode; use it as a context manager."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            ["perl", "-T", str(_SCRIPT), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        #: Pages that were read so far.
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=_ENDS_WITHIN_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    def read(self, bug: int) -> Pages:
        """Read the page of a bug, and what REST answers about it."""
        now = [self._page("show_bug.cgi", query=f"id={bug}")]
        now += [self._page("rest.cgi", path=f"/bug/{bug}{part}") for part in ("", "/comment", "/attachment")]
        history = self._page("rest.cgi", path=f"/bug/{bug}/history")
        return Pages(frozenset(_WORD.findall("".join(now))), frozenset(_WORD.findall(history)))

    def _page(self, script: str, *, query: str = "", path: str = "") -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"script": script, "query": query, "path": path}) + "\n")
        self._process.stdin.flush()
        self.count += 1
        return str(json.loads(self._process.stdout.readline())["page"])
