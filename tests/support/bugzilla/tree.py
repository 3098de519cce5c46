# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A Bugzilla with the extension, fake or the real one of BUGZILLA_HOME, and a program that does what people do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sourcepulse_bugzilla.perl.requests import command_for
from support.bugzilla.standin import require_perl

_ROOT = Path(__file__).parents[3]
#: What makes a fake Bugzilla.
MAKE = _ROOT / "bugzilla_extension" / "SourcePulse" / "t" / "fake" / "make.pl"
_WORKER = Path(__file__).with_name("worker.pl")
ENDS_WITHIN_SECONDS = 30.0

Step = Mapping[str, Any]


def open_tree(folder: Path) -> BugzillaTree:
    """Return the Bugzilla of BUGZILLA_HOME, else a new fake one in a folder; it publishes all, in both streams."""
    require_perl()
    home = os.environ.get("BUGZILLA_HOME")
    if not home:
        home = str(folder / "bugzilla")
        subprocess.run(["perl", str(MAKE), home], check=True, timeout=ENDS_WITHIN_SECONDS)
    return BugzillaTree(Path(home), folder)


class BugzillaTree:
    """The folder of a Bugzilla; what was in it before does not count."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        #: What a visitor could read at any moment since the last `begin`, as the tables said.
        self.journal = folder / "seen"
        self.first_bug = 1
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        with self.worker() as worker:
            answer = worker.do({"do": "prepare"})
        assert "error" not in answer, (
            f"is {self.home} set up? run its checksetup.pl, then furnish.pl: {answer['error']}"
        )
        self.first_bug = int(answer["first"])
        self.journal.write_text("")

    def worker(self) -> Worker:
        """Start the program that does steps."""
        return Worker(["perl", str(_WORKER), str(self.home), str(self.first_bug), str(self.journal)])

    def do(self, steps: Iterable[Step]) -> None:
        """Do steps, one after the other."""
        with self.worker() as worker:
            for step in steps:
                worker.do(step)

    def secret(self) -> str:
        """Return the secret in the ids of the site's events, as drain.pl answers."""
        ran = subprocess.run(
            command_for(self.home),
            input='{"do": "hello"}\n',
            capture_output=True,
            text=True,
            check=True,
            timeout=ENDS_WITHIN_SECONDS,
        )
        return str(json.loads(ran.stdout)["secret"])

    def facts(self) -> dict[str, Any]:
        """Return what stands in the tables."""
        with self.worker() as worker:
            return worker.do({"do": "facts"})

    def seen(self) -> set[str]:
        """Return all words, and numbers of bugs as `bug:<id>`, that a visitor could ever see."""
        return set(self.journal.read_text().split())


class Worker:
    """The running program; it ends with the block."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.process.communicate(timeout=ENDS_WITHIN_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()

    def do(self, step: Step) -> dict[str, Any]:
        """Do one step and give its answer."""
        self.send([step])
        return self.answer()

    def send(self, steps: Iterable[Step]) -> None:
        """Request steps, without waiting for them."""
        assert self.process.stdin is not None
        self.process.stdin.writelines(json.dumps(step) + "\n" for step in steps)
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the next step that was not answered."""
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer
