# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find the outbox of a repository by running `hg config`, so that Mercurial itself reads the hgrc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from sourcepulse.errors import ConfigError, NothingThereError

#: hg needs far less to read its configuration.
LIMIT_SECONDS = 30.0
_DEFAULT = "sourcepulse/outbox.db"
#: The exit code of `hg config NAME` for a name that is not set.
_NOT_SET = 1


def outbox_of(location: str) -> Path:
    """Return the outbox of a repository, a share or a `.hg` directory; raises ConfigError if hg cannot be run."""
    root = Path(location)
    dot_hg = root if root.name == ".hg" else root / ".hg"
    if not dot_hg.is_dir():
        raise NothingThereError(f"there is no repository at {location}")
    program = hg_program()
    way_out = "set --outbox, or run `hg sourcepulse-recover` in the repository"
    if program is None:
        raise ConfigError(f"the outbox of {location} is unknown, because no hg was found to read its hgrc; {way_out}")
    ask = [program, "--cwd", str(dot_hg.parent), "config", "sourcepulse.outbox"]
    try:
        done = subprocess.run(
            ask, env={**os.environ, "HGPLAIN": "1"}, capture_output=True, timeout=LIMIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"the outbox of {location} is unknown: {error}; {way_out}") from None
    if done.returncode not in (0, _NOT_SET):
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ConfigError(f"the outbox of {location} is unknown: {said}; {way_out}")
    return place_of_outbox(os.fsdecode(done.stdout.strip()), _shared(dot_hg))


def hg_program() -> str | None:
    """Return the hg beside our Python, or else on PATH; None if there is none."""
    beside = Path(sys.executable).parent / "hg"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("hg")


def other_hg_program() -> str | None:
    """Return the hg on PATH if it is not the one beside our Python; the pushers may run that with another Python."""
    on_path, ours = shutil.which("hg"), hg_program()
    if on_path is None or ours is None or os.path.realpath(on_path) == os.path.realpath(ours):
        return None
    return on_path


def place_of_outbox(value: str, dot_hg: Path) -> Path:
    """Return the outbox for a value of the setting, "" if it is not set; relative to the `.hg` that is shared."""
    return Path(os.path.join(dot_hg, os.path.expandvars(os.path.expanduser(value)) if value else _DEFAULT))


def _shared(dot_hg: Path) -> Path:
    """Return the `.hg` directory of the repository that a share uses; any other is returned unchanged."""
    try:
        place = os.fsdecode((dot_hg / "sharedpath").read_bytes().rstrip(b"\n"))
    except OSError:
        return dot_hg
    return Path(os.path.normpath(os.path.join(dot_hg, place)))
