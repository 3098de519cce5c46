# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse demo --web`: pushes to two trees, their builds, a failed test and a closed tree, in a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, ConfigError
from sourcepulse_hg.commands.demo_builds import BUILDERS, Builds, Pushed, builds_of
from sourcepulse_hg.commands.demo_parts import environ, hg_program, make_server, run, show

INBOUND, BETA = "integration/inbound", "releases/beta"
WHY = "the parser fails in check.py"
REASON = f"Bug 1234: {WHY}"
#: The gateway starts, and what was pushed and built is shown, within seconds; a busy machine needs minutes.
LIMIT_SECONDS = 180
LOOK_SECONDS = 0.3
ANSWER_SECONDS = 10
STOP_SECONDS = 20

#: The test of the demo's repositories writes what Buildbot's step reads.
_CHECK = """\
import sys
from parse import parse
failed, cases = 0, ""
for name, text, wanted in (("handles_words", "a,b", ["a", "b"]), ("handles_empty_input", "", [])):
    try:
        problem = "" if parse(text) == wanted else "<failure message='it returned something else'/>"
    except ValueError as error:
        problem = f"<failure message='the parser raised {type(error).__name__}'/>"
    failed += bool(problem)
    cases += f"<testcase name='{name}' file='check.py'>{problem}</testcase>"
open("report.xml", "w").write(f"<testsuite name='unit'>{cases}</testsuite>")
"""
_GOOD = "def parse(text):\n    return text.split(',') if text else []\n"
_BAD = "def parse(text):\n    first, *rest = text.split(',')\n    return [str(int(first, 36)) and first, *rest]\n"

#: Paths below the gateway's address.
_WHAT_TO_SEE = {
    "trees": "two trees, one of them closed",
    f"trees/{INBOUND}": "the board: pushes, their builds, and a test that fails, new here",
    f"trees/{INBOUND}?wall=1": "the same for a screen on the wall",
    "changes/{node}": "the story of the change that broke it",
    "": "everything that was published, live",
    "catalogue": "every type of event",
}


class Commit(NamedTuple):
    """A changeset of the demo."""

    message: str
    files: dict[str, str]


_FIRST = (
    Commit("Add the parser", {"parse.py": _GOOD}),
    Commit("Bug 1201 - test the parser", {"check.py": _CHECK}),
)
_BREAKS = (Commit("Bug 1234 - a faster parser", {"parse.py": _BAD}),)
_NOTES = (Commit("Bug 1240 - write the release notes", {"NOTES": "It is faster.\n"}),)
_DOCS = (Commit("Bug 1251 - describe the parser", {"README": "parse(text) returns words.\n"}),)


def show_in_browser(folder: Path) -> int:
    """Make it happen, check over HTTP that it is shown, and stay until Ctrl-C where a terminal is."""
    if missing := [name for name in ("twisted", "jinja2") if find_spec(name) is None]:
        raise ConfigError(f"the web gateway needs {' and '.join(missing)}: pip install 'sourcepulse[web]'")
    demo = _Demo(folder)
    try:
        return demo.run()
    finally:
        demo.close()


class _Demo:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._broker = f"file://{folder}/log.db"
        self._hg = hg_program()
        self._builds: Builds = builds_of(folder, self._broker, self._hg)
        self._gateway: subprocess.Popen[bytes] | None = None
        self._url = ""

    def run(self) -> int:
        begin = time.monotonic()
        # It needs seconds to start, in which the repositories are made.
        self._builds.begin()
        show("1. Two repositories with the extension, and the web gateway on their log:")
        inbound, beta = (make_server(self._folder, name, self._broker, self._hg)[0] for name in (INBOUND, BETA))
        for server in (inbound, beta):
            with (server / ".hg" / "hgrc").open("a") as hgrc:
                hgrc.write(f"repo_url = {self._folder}/{{repo}}\n")
        self._start_gateway()
        show(f"       sourcepulse web --broker {self._broker}\n       {self._url}\n")
        show(f"2. Builds: {self._builds.description}\n")
        self._builds.wait()

        show("3. Pushes, and what became of them:")
        self._push(inbound, "alice", _FIRST)
        self._push(beta, "carol", _NOTES, pull=inbound)
        broken = self._push(inbound, "bob", _BREAKS, fails=("handles_empty_input",))
        close = ("treestatus", "--close", REASON)
        run(environ("sheriff"), *self._hg, "-R", str(inbound), *close)
        show(f"       {INBOUND} closed by sheriff: {REASON}")
        refused = self._commit_and_push(inbound, "dave", _DOCS, code=255)
        show(f"       dave was refused: {_line_with(refused, 'the tree is closed')}\n")

        show("4. What the gateway shows, asked over HTTP:")
        missing = self._missing(broken)
        if missing:
            show("".join(f"       {each} is missing\n" for each in missing))
            return EXIT_FAILURE
        stays = sys.stdin.isatty() and sys.stderr.isatty()
        show(f"       all of it, {time.monotonic() - begin:.0f} s after the start\n")
        show("5. Open in a browser:" if stays else "5. On a terminal the gateway stays, and these open in a browser:")
        what = {self._url + path.format(node=broken[:12]): text for path, text in _WHAT_TO_SEE.items()}
        width = max(map(len, what))
        print("\n".join(f"{url:{width}}  {text}" for url, text in what.items()), flush=True)
        if stays:
            self._stay()
        return EXIT_OK

    def close(self) -> None:
        """End all that was started."""
        try:
            self._builds.close()
        finally:
            if self._gateway is not None:
                self._gateway.terminate()
                with suppress(subprocess.TimeoutExpired):
                    self._gateway.wait(STOP_SECONDS)
                self._gateway.kill()
                self._gateway.wait()

    def _start_gateway(self) -> None:
        log = self._folder / "gateway.log"
        command = [sys.executable, "-m", "sourcepulse.cli", "web", "--broker", self._broker, "--listen", "127.0.0.1:0"]
        with log.open("wb") as errors:
            self._gateway = subprocess.Popen(
                command, env=environ(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

        def address() -> str:
            found = re.search(r"at (http://\S+)", log.read_text(encoding="utf-8", errors="replace"))
            return found[1] if found else ""

        self._url = self._waited(address, f"the gateway does not start; run with --keep and read {log}")

    def _push(
        self,
        server: Path,
        user: str,
        commits: Sequence[Commit],
        *,
        pull: Path | None = None,
        fails: Sequence[str] = (),
    ) -> str:
        """Push, wait until it was built, say what became of it, and return the newest changeset."""
        self._commit_and_push(server, user, commits, pull=pull)
        node = run(environ(), *self._hg, "-R", str(server), "log", "--rev", "tip", "--template", "{node}")
        repo = server.relative_to(self._folder).as_posix()
        show(f"       {user} pushed {node[:12]} to {repo}: {commits[-1].message}")
        self._builds.build(Pushed(server, node, user, fails))
        outcomes = self._waited(lambda: self._built(node), f"{node[:12]} is not built")
        show(
            "".join(f"           {builder}: {outcome}\n" for builder, outcome in sorted(outcomes.items())).rstrip("\n")
        )
        return node

    def _built(self, node: str) -> dict[str, str]:
        """Return the outcomes of all builders, empty until each has one."""
        finished = [event["data"] for event in self._events("build.finished.#")]
        outcomes = {data["buildername"]: data["outcome"] for data in finished if data["revision"] == node}
        return outcomes if len(outcomes) == len(BUILDERS) else {}

    def _commit_and_push(
        self, server: Path, user: str, commits: Sequence[Commit], *, pull: Path | None = None, code: int = 0
    ) -> str:
        work = self._folder / f"work-{user}"
        run(environ(user), *self._hg, "clone", "--quiet", str(pull or server), str(work))
        for commit in commits:
            for name, content in commit.files.items():
                (work / name).write_text(content)
            commands = ("commit", "--addremove", "--quiet", "--message", commit.message)
            run(environ(user), *self._hg, "--cwd", str(work), *commands)
        return run(environ(user), *self._hg, "--cwd", str(work), "push", str(server), code=code)

    def _missing(self, node: str) -> list[str]:
        """Return what the pages do not show, after they had the time to."""
        wanted = {
            "trees": (INBOUND, BETA, "closed"),
            f"trees/{INBOUND}": (node[:12], "bob", "1234", "check.py", "new here", WHY),
            f"trees/{BETA}": ("carol", "1240"),
            f"changes/{node[:12]}": ("Bug 1234 - a faster parser", "check.py", "bob"),
            "": ("bob", "pushed"),
        }
        missing: list[str] = []

        def look() -> bool:
            pages = {path: self._get(path) for path in wanted}
            missing[:] = [
                f"{text!r} on /{path}" for path, texts in wanted.items() for text in texts if text not in pages[path]
            ]
            return not missing

        with suppress(ConfigError):
            self._waited(look, "")
        return missing

    def _events(self, topic: str) -> list[Any]:
        answer = json.loads(self._get(f"events.json?limit=1000&topic={topic.replace('#', '%23')}") or "{}")
        return [each["event"] for each in answer.get("events", ())]

    def _get(self, path: str) -> str:
        """Return the body of an answer; empty if there is none yet."""
        # A proxy of this machine knows no loopback address.
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(self._url + path, timeout=ANSWER_SECONDS) as answer:
                text: str = answer.read().decode("utf-8", "replace")
                return text
        except (OSError, URLError):
            return ""

    def _waited(self, look: Callable[[], Any], problem: str) -> Any:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (found := look()):
            ended = self._gateway is not None and self._gateway.poll() is not None
            if ended or time.monotonic() > deadline:
                raise ConfigError(problem)
            time.sleep(LOOK_SECONDS)
        return found

    def _stay(self) -> None:
        with suppress(KeyboardInterrupt):
            show("\nCtrl-C ends it.")
            while True:
                time.sleep(STOP_SECONDS)


def _line_with(text: str, words: str) -> str:
    """Return the first line that has these words, from there on."""
    return next((words + line.partition(words)[2] for line in text.splitlines() if words in line), text.strip())
