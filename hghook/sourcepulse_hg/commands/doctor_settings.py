# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the doctor finds in the section `[sourcepulse]` of a repository, by the code that a push decides by."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from sourcepulse.config import load
from sourcepulse.errors import ConfigError
from sourcepulse.operations.doctor.checks import broker
from sourcepulse.operations.doctor.doctor import situation_of
from sourcepulse.operations.doctor.finding import Finding, broken, unchecked, warning
from sourcepulse.operations.doctor.owner import owner_of
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words
from sourcepulse_hg.commands.setting_keys import SECTION
from sourcepulse_hg.pending.collect import RepositoryFiles
from sourcepulse_hg.settings import Settings, settings_of, silence

LIMIT_SECONDS = 3.0

_UNREADABLE = os.strerror(errno.EACCES)
#: The keys that lead to the file in which an admin of this site keeps the settings, the likeliest first.
_SITE_KEYS = ("root", "outbox", "broker_file", "broker")


class Section(NamedTuple):
    """What Mercurial reads for a repository, each value with its place; it answers as a `ui` does."""

    values: Mapping[str, str]
    places: Mapping[str, str]

    def config(self, section: bytes, key: bytes, *, untrusted: bool = False) -> bytes | None:
        del untrusted
        value = self.values.get(os.fsdecode(section + b"." + key))
        return None if value is None else os.fsencode(value)

    def configitems(self, section: bytes, *, untrusted: bool = False) -> list[tuple[bytes, bytes]]:
        del untrusted
        prefix = os.fsdecode(section) + "."
        return [
            (os.fsencode(item.removeprefix(prefix)), os.fsencode(value))
            for item, value in self.values.items()
            if item.startswith(prefix)
        ]

    def configsource(self, section: bytes, key: bytes) -> bytes:
        return os.fsencode(self.places.get(os.fsdecode(section + b"." + key), ""))

    def settings(self, dot_hg: Path) -> Settings:
        """Return the settings of the repository with this `.hg` directory."""
        return settings_of(self, os.fsencode(dot_hg))

    def file(self, *items: str, default: Path) -> Path:
        """Return the file that sets the first of these items that one sets, else one with `[sourcepulse]`."""
        ours = (item for item in self.places if item.startswith(f"{SECTION.decode()}."))
        for item in (*items, *(f"{SECTION.decode()}.{key}" for key in _SITE_KEYS), *ours):
            name, _, line = self.places.get(item, "").rpartition(":")
            if line.isdigit() and os.path.isabs(name):
                return Path(name)
        return default


class Reported:
    """What was found once already: a line that many repositories read is one fault with one repair."""

    def __init__(self) -> None:
        self._known: set[tuple[str, ...]] = set()
        self._lock = Lock()

    def is_first(self, *what: object) -> bool:
        """Return whether this was not found yet."""
        key = tuple(map(str, what))
        with self._lock:
            is_first = key not in self._known
            self._known.add(key)
        return is_first


def for_all_that_read(file: Path, files: RepositoryFiles) -> str:
    """Return the end of a sentence about a file, which others may read as well."""
    return "" if file.is_relative_to(files.dot_hg) else f"; the same holds for others that read {file}"


def settings_findings(
    section: Section, settings: Settings, root: Path, reported: Reported, hg: Words
) -> Iterator[Finding]:
    """Yield what is wrong with the values, as `hg sourcepulse-check` does."""
    for problem in settings.problems:
        if reported.is_first(problem):
            yield broken("SP505", root, problem, repository=root, hg=hg)
    if (why := silence(settings)) is not None:
        key = "root" if settings.is_outside else "publish"
        place = section.places.get(f"sourcepulse.{key}", "")
        found = f"nothing is published: {why}; {key} = {section.values.get(f'sourcepulse.{key}', '')}, set in {place}"
        yield (broken if settings.is_outside else warning)("SP505", root, found, repository=root, hg=hg)


def broker_findings(
    situation: Situation, section: Section, settings: Settings, root: Path, reported: Reported
) -> Iterator[Finding]:
    """Look at the broker that the hgrc names, if it is not the one of the settings."""
    key, value = _named_broker(settings)
    if silence(settings) is not None or (situation.places and not settings.start_relay):
        # A relay that an admin starts has settings of its own.
        return
    if not value:
        # Of the repositories that the outbox knows, the check of the settings says so.
        if settings.start_relay and not situation.places and situation.repositories:
            file = section.file(default=Path(os.fsdecode(settings.dot_hg)) / "hgrc")
            found = f"neither broker nor broker_file is set in {file}: events stay in the outbox"
            hg = owner_of(Path(os.fsdecode(settings.dot_hg))).command("hg")
            yield broken("SP505", root, found, repository=root, hg=hg)
        return
    place = section.places.get(f"sourcepulse.{key}", str(root))
    try:
        own = situation_of(load({key: value}, environ={}), None, now=situation.now)
    except ConfigError as error:
        if not reported.is_first(key, value):
            return
        if _UNREADABLE in str(error):
            yield unchecked("SP101", place, f"{error}; run the doctor as a user that pushes, or as root")
        else:
            yield broken("SP101", place, f"[sourcepulse] {key}: {error}")
        return
    known = [each.url for each in situation.places.values()]
    for each in own.places.values():
        if each.url not in known and reported.is_first(each):
            for job in broker.jobs(own):
                yield from job.run()


def _named_broker(settings: Settings) -> tuple[str, str]:
    if settings.broker_file is not None:
        return "broker_file", os.fsdecode(settings.broker_file)
    return "broker", settings.broker or ""


def named_by(settings: Settings, *, outbox: bool) -> dict[str, str]:
    """Return what the commands of the core call settings, as far as the hgrc names it."""
    key, value = _named_broker(settings)
    named = {key: value} if value else {}
    return named | ({"outbox": os.fsdecode(settings.outbox)} if outbox else {})


def site_section(program: str | None) -> Section | None:
    """Return what Mercurial reads for this user outside any repository; None if it cannot be read."""
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--cwd", "/", "config", "--source", "-Tjson", SECTION.decode()],
            env={**os.environ, "HGPLAIN": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        items = json.loads(done.stdout or "[]")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return Section({item["name"]: item["value"] for item in items}, {item["name"]: item["source"] for item in items})
