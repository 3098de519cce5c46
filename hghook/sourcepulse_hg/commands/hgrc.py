# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read what Mercurial reads for a repository, by `hg config`, as the owner of the repository.

An hgrc may name extensions, which hg runs. So root never runs hg on what others may write, and Mercurial's own rules
of trust hold as they do in a push.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse.operations.doctor.owner import Owner, owner_of
from sourcepulse_hg.pending.collect import RepositoryFiles

#: hg needs far less to read its configuration.
LIMIT_SECONDS = 6.0
#: A longer hgrc is read by hg alone.
HGRC_MAX_BYTES = 64 * 1024

PACKAGE = "sourcepulse_hg"
_HOOK = "sourcepulse_hg.changegroup"
_IMPORT_FAILED = re.compile(r"failed to import extension \"?([\w.]+)\"?(.*)")
_UNTRUSTED = re.compile(r"not trusting file (.+) from untrusted user (\S+), group \S+")
#: What hg writes about a line that it cannot read, and what the doctor prints instead of the line.
_UNREAD_LINE = re.compile(r"((?:config|parse) error at .+?:\d+: (?:unexpected leading whitespace)?).*")
_NOT_A_SETTING = r"\1 (this line is no setting)"
_SECTIONS = ("extensions", "hooks", "sourcepulse")
#: What a repository has of settings of its own; `requires` says which hg can read it.
_OWN_FILES = ("hgrc", "hgrc-not-shared")
#: Owns nothing; what runs as this user can do no more than any other.
_UNPRIVILEGED = Owner(uid=65_534, gid=65_534, name=None, home="/")
_SECTION = re.compile(r"\[([^\[\]]+)\]")
_ITEM = re.compile(r"\s|[#;]|[^=\s%][^=]*=")
#: Such an extension is the same for every repository.
_SAME_EXTENSION = re.compile(r"\s*$|[#;\s]|[^=]+=\s*(?:$|[!/~])")


class Hgrc(NamedTuple):
    """What Mercurial reads for a repository: each value with its place, and what it wrote to stderr."""

    values: Mapping[str, str]
    places: Mapping[str, str]
    errors: str

    def extension(self) -> str | None:
        """Return the name of the item that enables the extension, None if none does."""
        for item, value in self.values.items():
            section, _, name = item.partition(".")
            is_ours = name == PACKAGE or Path(value.lstrip("!")).name == PACKAGE
            if section == "extensions" and is_ours and not value.startswith("!"):
                return name
        return None

    def import_failure(self, name: str) -> str:
        """Return what hg wrote about an extension that it could not import; "" if it could."""
        return next((match[0].strip() for match in _IMPORT_FAILED.finditer(self.errors) if match[1] == name), "")

    def hook(self) -> bool:
        """Return whether the hook publishes, without the extension."""
        return any(item.startswith("hooks.") and _HOOK in value for item, value in self.values.items())

    def untrusted(self) -> tuple[str, str, str] | None:
        """Return what hg wrote about a file that it did not trust, the file and its owner; None if it trusted all."""
        match = _UNTRUSTED.search(self.errors)
        return (match[0], match[1], match[2]) if match else None

    def moved(self, old: Path, new: Path) -> Hgrc:
        """Return the same for another repository that has the same settings."""
        before, after = f"{old}/", f"{new}/"
        places = {item: place.replace(before, after) for item, place in self.places.items()}
        return self._replace(places=places, errors=self.errors.replace(before, after))


class HgrcReader:
    """Reads what Mercurial reads; once for all repositories of an owner that say the same in the same way."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[Path, Hgrc]] = {}

    def read(self, files: RepositoryFiles, program: str | None) -> Hgrc:
        """Return what hg reads; ConfigError if hg cannot be run, SourcePulseError if it fails."""
        if program is None:
            raise ConfigError("no hg was found to read the hgrc")
        try:
            user = _user_for(files)
            key = _key(files, user, program)
            root = files.dot_hg.parent
            if key is None or key not in self._known:
                read = _ask(files.dot_hg.parent, user, program)
                if key is None:
                    return read
                self._known[key] = (root, read)
            known, read = self._known[key]
        except OSError as error:
            raise ConfigError(f"its files cannot be looked at: {error}") from None
        return read.moved(known, root)


def _user_for(files: RepositoryFiles) -> Owner:
    """Return as whom hg runs: for root the owner of the repository, or somebody else where others could mislead it."""
    owner = owner_of(files.dot_hg)
    own = [path for name in _OWN_FILES if (path := files.dot_hg / name).exists()]
    if (
        os.geteuid() == 0
        and owner.uid == 0
        and any(map(_is_open_to_others, [*own, files.dot_hg, *files.dot_hg.parents]))
    ):
        return _UNPRIVILEGED
    return owner


def _is_open_to_others(path: Path) -> bool:
    """Return whether others than root can write to a file, or replace what a folder has."""
    status = path.stat()
    mode = 0 if status.st_mode & stat.S_ISVTX else status.st_mode
    return status.st_uid != 0 or bool(mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid != 0))


def _ask(root: Path, user: Owner, program: str) -> Hgrc:
    try:
        done = _run(root, user, program)
        items = json.loads(done.stdout or "[]")
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"hg cannot be run as user {user.name or user.uid}: {error}") from None
    except ValueError:
        items = None
    errors = done.stderr.decode("utf-8", "replace").strip()
    if items is None or (done.returncode > 1 and not items):
        # hg repeats the line that it cannot read, which may have a password anywhere.
        errors = _UNREAD_LINE.sub(_NOT_A_SETTING, errors)
        if user is _UNPRIVILEGED:
            raise ConfigError(f"root runs no hg where others may write, and another user may not: {errors}")
        raise SourcePulseError(f"hg config fails: {errors or done.returncode}")
    return Hgrc(
        {item["name"]: item["value"] for item in items}, {item["name"]: item["source"] for item in items}, errors
    )


def _run(root: Path, user: Owner, program: str) -> subprocess.CompletedProcess[bytes]:
    trust = ("--config", "trusted.users=root") if user is _UNPRIVILEGED else ()
    ask = ("--cwd", str(root), "--config", "ui.report_untrusted=yes", *trust, "config", "--source", "-Tjson")
    another = user.is_another
    programs = [program, *_on_path()]
    for number, each in enumerate(programs, start=1):
        try:
            return subprocess.run(
                [each, *ask, *_SECTIONS],
                env={**(user.environ() if another else os.environ), "HGPLAIN": "1"},
                cwd="/",
                user=user.uid if another else None,
                group=user.gid if another else None,
                extra_groups=user.groups if another else None,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except PermissionError:
            # The one of this environment may be closed to the owner of the repository.
            if number == len(programs):
                raise
    raise AssertionError("there is a program")


def _on_path() -> list[str]:
    folders = os.get_exec_path()
    return [path for folder in folders if os.path.isabs(folder) and os.path.isfile(path := os.path.join(folder, "hg"))]


def _key(files: RepositoryFiles, user: Owner, program: str) -> tuple[object, ...] | None:
    """Return on what the answer of hg depends for a repository, None if that cannot be said without hg."""
    key: list[object] = [program, user]
    for name in ("requires", *_OWN_FILES):
        try:
            # A fifo must not hold us.
            descriptor = os.open(files.dot_hg / name, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            key.append(None)
            continue
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            content = file.read(HGRC_MAX_BYTES + 1) if stat.S_ISREG(status.st_mode) else b"%"
        text = content.decode("utf-8", "surrogateescape")
        own = text if name == "requires" else _relevant(text)
        if own is None or len(content) > HGRC_MAX_BYTES:
            return None
        key.append((status.st_uid, status.st_gid, status.st_mode, own))
    return tuple(key)


def _relevant(text: str) -> str | None:
    """Return the lines of an hgrc that matter here; None if it is not plain."""
    section, kept = "", []
    for line in text.splitlines():
        if match := _SECTION.match(line):
            section = match[1]
        elif line and not _ITEM.match(line):
            # A syntax error, or `%include`.
            return None
        elif section == "extensions" and not _SAME_EXTENSION.match(line):
            return None
        if section in (*_SECTIONS, "ui", "trusted"):
            kept.append(line)
    return "\n".join(kept)
