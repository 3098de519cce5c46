# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A process with a reactor that keeps a child running, as the gateway does, and prints what becomes of it.

`python child_driver.py FOLDER SECONDS`: the child is FOLDER/child.py, which touches FOLDER/seen; FOLDER/off switches it
off, and what FOLDER/settings has is its settings. Each change is a line of JSON. SIGTERM ends both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from sourcepulse_web.process.sender_child import Launch, SenderChild

LOOK_SECONDS = 0.05
#: The limit for the end of its child.
END_SECONDS = 3.0
START_LIMIT_SECONDS = 30.0


class Driver:
    """One such process, for a test; the child's program is `text`."""

    def __init__(self, folder: Path, text: str, *, hung_s: float = 60.0) -> None:
        self.folder = folder
        (folder / "child.py").write_text(text, encoding="utf-8")
        self._log = folder / "stderr"
        self._states = folder / "states"
        with self._log.open("ab") as errors, self._states.open("ab") as states:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), str(folder), str(hung_s)], stdout=states, stderr=errors
            )

    def states(self) -> list[dict[str, Any]]:
        """Return what the child was since the start, the last one last."""
        return [json.loads(line) for line in self._states.read_text(encoding="utf-8").splitlines()]

    @property
    def now(self) -> dict[str, Any]:
        """Return the last of these; empty before the first."""
        found = self.states()
        return found[-1] if found else {}

    def stderr(self) -> str:
        """Return what both processes logged."""
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> int:
        """End it as a service manager does, and return the exit code."""
        self._process.terminate()
        return self._process.wait(START_LIMIT_SECONDS)

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main(folder: Path, hung_s: float) -> None:
    """Keep the child running until SIGTERM."""
    from twisted.internet import reactor as the_reactor
    from twisted.internet.task import LoopingCall

    reactor: Any = the_reactor
    printed: list[object] = [None]

    def wanted() -> Launch | None:
        if (folder / "off").exists():
            return None
        settings = folder / "settings"
        text = settings.read_text(encoding="utf-8") if settings.exists() else ""
        return Launch((sys.executable, str(folder / "child.py"), str(folder / "seen")), dict(os.environ), text)

    def seen_at() -> float | None:
        seen = folder / "seen"
        return seen.stat().st_mtime if seen.exists() else None

    child = SenderChild(reactor, wanted=wanted, seen_at=seen_at, hung_s=hung_s, end_s=END_SECONDS)

    def look() -> None:
        child.look()
        state = {"pid": child.pid, "up": child.is_up, "starts": child.starts, "problem": child.problem}
        if state != printed[0]:
            printed[0] = state
            print(json.dumps(state), flush=True)

    def end() -> None:
        child.end().addBoth(lambda _: reactor.stop())

    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(end))
    LoopingCall(look).start(LOOK_SECONDS)
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
