# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The fenced blocks of the pages, and a folder that stands in for the machine of a reader who pastes them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "shared" / "docs").rglob("*.md")),
    "hghook/README.md",
    "buildbot_status/README.md",
    "bugzilla_extension/README.md",
)
LIMIT_SECONDS = 120

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
#: What separates two commands of a line, or begins one within another.
_BETWEEN = set("()<>|&;")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def name(self) -> str:
        """Return what identifies the block in the tables of the tests: its page and first line."""
        return f"{self.page}: {self.text.splitlines()[0]}"

    @property
    def script(self) -> str:
        """Return what is typed: all of it, or in a console what follows a prompt."""
        if self.language != "console":
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))

    @property
    def output(self) -> str:
        """Return what a console shows after that."""
        return "".join(f"{line}\n" for line in self.text.splitlines() if not line.startswith("$ "))

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each command, those within `$( )` and `<( )` too."""
        for line in self.script.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= _BETWEEN:
                    words.append(word)
                elif words:
                    yield words[3:] if words[0] == "sudo" else words
                    words = []


def blocks(*languages: str) -> list[Block]:
    """Return the blocks in these languages, or all."""
    found = [
        Block(page, language, textwrap.dedent(text))
        for page in PAGES
        for _, language, text in _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))
    ]
    return [block for block in found if not languages or block.language in languages]


def block(name: str) -> Block:
    """Return the block that begins so."""
    (found,) = [each for each in blocks() if each.name.startswith(name)]
    return found


class Machine:
    """A user home and the folders of a server, all below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.venv = self.home / "sourcepulse-venv"
        for name in ("home", "srv/hg", "var", "etc"):
            (folder / name).mkdir(parents=True)
        self.url = f"file://{folder}/var/log.db"
        self.environ = {
            "HOME": str(self.home),
            "USER": "alice",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{self.venv}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HGRCPATH": str(folder / "hgrc"),
            # The mirror of the developer, where there is one.
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            "PIP_CACHE_DIR": str(Path("~/.cache/pip").expanduser()),
        }
        for config in ("~/.config/pip/pip.conf", "~/.pip/pip.conf"):
            if Path(config).expanduser().exists():
                self.environ["PIP_CONFIG_FILE"] = str(Path(config).expanduser())

    def here(self, text: str) -> str:
        """Return a text of a page with the paths of this machine."""
        for printed, path in (
            (r"/opt/sourcepulse(?=/)", self.venv),
            ("/home/me", self.home),
            ("/srv/hg", self.folder / "srv" / "hg"),
            (r"/var/lib/sourcepulse(?=/)", self.folder / "var"),
            ("/etc/sourcepulse", self.folder / "etc"),
            (r"python3\.\d+", f"python3.{sys.version_info.minor}"),
        ):
            text = re.sub(printed, str(path), text)
        return text

    def start(self, script: str) -> subprocess.Popen[str]:
        """Start a script in a clone of the project."""
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, code: int = 0) -> str:
        """Run a script and return its output; the test fails if its exit code is another."""
        process = self.start(script)
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == code, f"{script}\n{out}{err}"
        return out
