# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An earlier version of this project, taken from the history of the checkout, run beside the present one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The version of 2026-11-29, before the modules were sorted into folders.
COMMIT = "323abf2ee264a330c16b90c1f6e45ebac406bcfc"
LIMIT_SECONDS = 60

_PARTS = ("shared/sourcepulse", "hghook/sourcepulse_hg", "bugzilla_extension/sourcepulse_bugzilla", "pyproject.toml")


@dataclass(frozen=True)
class OldVersion:
    """The earlier version in a folder; it runs by the interpreter and the libraries of the tests."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which `sourcepulse` and the extension of hg are the earlier ones."""
        paths = [self.folder / "metadata", *(self.folder / part.partition("/")[0] for part in _PARTS[:3])]
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "USER": "alice",
            "HOME": str(self.folder),
            "SOURCEPULSE_CONFIG": "",
        }

    def run(self, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> str:
        """Run a program to its end and return its output; the test fails if it does."""
        done = subprocess.run(
            arguments,
            env=self.environ | environ,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def sourcepulse(self, *arguments: str | Path) -> str:
        """Run a command of the earlier version."""
        return self.run(sys.executable, "-m", "sourcepulse.cli", *arguments)

    def python(self, program: str, *arguments: str | Path) -> str:
        """Run a program in Python that imports the earlier version."""
        return self.run(sys.executable, "-c", program, *arguments)


def in_history(commit: str = COMMIT) -> bool:
    """Return whether the checkout has the earlier version, which a shallow clone or an archive lacks."""
    done = subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False)
    return done.returncode == 0


def take_out(folder: Path, commit: str = COMMIT) -> OldVersion:
    """Write the earlier version into a folder."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, *_PARTS], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / "metadata" / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.0.1\n")
    sections = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in points.items())
        for group, points in project["entry-points"].items()
        if not group.startswith("buildbot")
    ]
    (metadata / "entry_points.txt").write_text("\n".join(sections))
    return OldVersion(folder)
