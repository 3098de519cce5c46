# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse doctor` checks of a repository. This does not import Mercurial; it runs `hg config`."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from sourcepulse.config import load
from sourcepulse.errors import ConfigError, NothingThereError, SourcePulseError
from sourcepulse.operations.doctor.doctor import examine_outbox, situation_of
from sourcepulse.operations.doctor.finding import Finding, Job, State, broken, unchecked, warning, well
from sourcepulse.operations.doctor.owner import Owner, owner_of
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words
from sourcepulse.relay.health.liveness import lock_path
from sourcepulse_hg.commands.doctor_settings import (
    Reported,
    Section,
    broker_findings,
    for_all_that_read,
    named_by,
    settings_findings,
    site_section,
)
from sourcepulse_hg.commands.hgrc import PACKAGE, Hgrc, HgrcReader
from sourcepulse_hg.pending.collect import DAMAGED_PREFIX, RepositoryFiles, find_repository, is_committed
from sourcepulse_hg.pending.foreign import foreign_copies
from sourcepulse_hg.pending.outbox_of import hg_program, other_hg_program, place_of_outbox
from sourcepulse_hg.settings import Settings

#: How many hgs run beside each other, and how long further ones are started: a server may have many repositories.
WORKERS = 3
START_LIMIT_SECONDS = 6.0
#: Of more, what is well is not listed one by one.
SHOWN_MAX = 5
#: A push, or the relay, collects what is younger.
WAITING_LONG_SECONDS = 60.0

#: Renames an outbox and what lies beside it, if the status that is piped in has nothing left in it.
RETIRE = (
    "import json, os, sys; old = sys.argv[1]; new = old + '.retired'; "
    "left = sum(each['pending'] + each['buried'] for each in json.load(sys.stdin)['streams'].values()); "
    "stays = f'{left} events are left in {old}: it stays' if left else os.path.exists(new) and f'there is {new}'; "
    "stays and sys.exit(stays); "
    "[os.rename(old + end, new + end) for end in ('.lock', '.relay.lock', '-wal', '-shm', '-journal', '') "
    "if os.path.exists(old + end)]"
)


def checks(situation: Situation) -> Iterator[Job]:
    """Yield the jobs that look at the repositories that were named, then at those that the outbox knows."""
    named = {os.path.realpath(path): None for path in situation.repositories}
    # These may be very many, and on a file server that does not answer: look at them in the jobs.
    places = deque([*((place, True) for place in named), *((place, False) for place in situation.origins("hg"))])
    walk = _Walk(situation, frozenset(named), until=time.monotonic() + START_LIMIT_SECONDS, total=len(places))
    if len(places) <= WORKERS:
        for place in places:
            yield Job(id="SP501", about=place[0], run=partial(walk.look, deque([place])))
        return
    for _ in range(WORKERS):
        yield Job(id="SP501", about=f"{len(places)} repositories", run=partial(walk.look, places))


def named_settings(situation: Situation) -> Iterator[tuple[dict[str, str], str]]:
    """Yield what hgrc name that the settings do not: the user's one, or those of repositories that the outbox knows."""
    if situation.outbox is None:
        section = site_section(hg_program())
        # One that is relative is in each repository, of which there is none here.
        if section is not None and os.path.isabs((settings := section.settings(Path("relative"))).outbox):
            yield named_by(settings, outbox=True), str(section.file(default=Path("hgrc")))
        return
    reader = HgrcReader()
    for place in situation.origins("hg"):
        with suppress(SourcePulseError, OSError):
            files = find_repository(place)
            section = _section(reader.read(files, hg_program()), owner_of(files.dot_hg))
            if given := named_by(section.settings(files.dot_hg), outbox=False):
                items = [f"sourcepulse.{key}" for key in given]
                yield given, str(section.file(*items, default=files.dot_hg / "hgrc"))


class _Walk:
    """A way through all repositories, which some workers go together until a common deadline."""

    def __init__(self, situation: Situation, named: frozenset[str], *, until: float, total: int) -> None:
        self._situation = situation
        self._named = named
        self._until = until
        self._lists_each = total <= SHOWN_MAX
        self._reader = HgrcReader()
        self._reported = Reported()

    def look(self, places: deque[tuple[str, bool]]) -> Iterator[Finding]:
        """Look at the files of all that are left, and at the hgrc of as many as there is time for."""
        publishing = left = 0
        later: list[Callable[[], Iterator[Finding]]] = []
        while places:
            try:
                place, is_named = places.popleft()
            except IndexError:
                break
            if not is_named and os.path.dirname(os.path.realpath(place)) in self._named:
                continue
            is_late = time.monotonic() >= self._until
            left += is_late
            for finding in self._repository(place, later, is_named=is_named, reads_hgrc=not is_late):
                if finding.id == "SP501" and finding.state is State.OK and not self._lists_each:
                    publishing += 1
                else:
                    yield finding
        if publishing:
            yield well("SP501", "repositories", f"the extension or the hook is enabled in {publishing}")
        if left:
            why = f"there was no time to read the hgrc of {left}; name those that matter with --repository"
            yield unchecked("SP501", "repositories", why)
        # Last, because a broker may be slow to answer.
        for look in later:
            yield from look()

    def _repository(
        self, place: str, later: list[Callable[[], Iterator[Finding]]], *, is_named: bool, reads_hgrc: bool
    ) -> Iterator[Finding]:
        situation = self._situation
        try:
            files = find_repository(place)
            root, owner = files.dot_hg.parent, owner_of(files.dot_hg)
        except (NothingThereError, OSError) as error:
            yield (broken if is_named else warning)("SP507", place, str(error))
            return
        found = list(_first_copies(files, root, owner))
        yield from found
        if not reads_hgrc:
            return
        try:
            hgrc = self._reader.read(files, hg_program())
        except ConfigError as error:
            yield unchecked("SP501", root, str(error))
            return
        except SourcePulseError as error:
            yield broken("SP509", root, str(error), repository=root, hg=owner.command("hg"))
            return
        untrusted = list(_untrusted(hgrc, files, owner))
        yield from untrusted
        if untrusted and hgrc.extension() is None:
            # What else the file sets is unknown.
            return
        section = _section(hgrc, owner)
        enabled = list(self._enabled(hgrc, files, section))
        yield from enabled
        if hgrc.extension() is not None or hgrc.hook():
            settings = section.settings(files.dot_hg)
            for finding in self._settings(files, hgrc, section, settings):
                found.append(finding)
                yield finding
            if not found and not untrusted and not enabled:
                how = "the extension" if hgrc.extension() else "the hook, with its weaker guarantee,"
                what = "republishes what it pulls" if settings.mirror else "publishes"
                yield well("SP501", root, f"{how} is enabled and {what} to {os.fsdecode(settings.outbox)}")
            if is_named:
                yield from self._its_own(settings)
            later.append(partial(broker_findings, situation, section, settings, root, self._reported))

    def _settings(self, files: RepositoryFiles, hgrc: Hgrc, section: Section, settings: Settings) -> Iterator[Finding]:
        hg = owner_of(files.dot_hg).command("hg")
        yield from settings_findings(section, settings, files.dot_hg.parent, self._reported, hg)
        yield from _outboxes(self._situation, hgrc, files, section, settings, self._reported)

    def _enabled(self, hgrc: Hgrc, files: RepositoryFiles, section: Section) -> Iterator[Finding]:
        extension, local, root = Path(__file__).resolve().parent, files.dot_hg / "hgrc", files.dot_hg.parent
        name = hgrc.extension()
        if name is None:
            # Where it is switched off, if it is; a line in another file may be overridden there.
            file = section.file(f"extensions.{PACKAGE}", default=local)
            if not hgrc.hook() and self._reported.is_first("SP501", file):
                shared = for_all_that_read(file, files)
                found = f"neither the extension nor the hook is enabled for this repository{shared}"
                yield broken("SP501", root, found, extension=extension, hgrc=file, tee=_tee(file, files))
            return
        file = section.file(f"extensions.{name}", default=local)
        script = _line_of_extension(name, extension)
        if failure := hgrc.import_failure(name):
            yield broken("SP502", root, failure, script=script, hgrc=file)
        elif (other := other_hg_program()) is not None:
            # With a Python of its own it may not find a name that ours finds.
            with suppress(SourcePulseError):
                if failure := self._reader.read(files, other).import_failure(name):
                    yield warning("SP502", root, f"{other}: {failure}", script=script, hgrc=file)

    def _its_own(self, settings: Settings) -> Iterator[Finding]:
        """Look at the outbox that an hgrc names, unless the doctor looks at it anyway, or has."""
        outbox, known = Path(os.fsdecode(settings.outbox)), self._situation.outbox
        is_known = known is not None and os.path.realpath(known) == os.path.realpath(outbox)
        if is_known or not self._reported.is_first("outbox", os.path.realpath(outbox)):
            return
        try:
            config = load(named_by(settings, outbox=False), environ={})
        except ConfigError:
            # The check of the broker reports it.
            config = load({}, environ={})
        yield from examine_outbox(situation_of(config, outbox, now=self._situation.now))


def _untrusted(hgrc: Hgrc, files: RepositoryFiles, owner: Owner) -> Iterator[Finding]:
    if (untrusted := hgrc.untrusted()) is None:
        return
    found, file, user = untrusted
    if os.geteuid() in (0, owner.uid):
        yield broken("SP510", files.dot_hg.parent, found, dot_hg=files.dot_hg, hgrc=file)
    else:
        yield warning("SP511", files.dot_hg.parent, found, user=user)


def _tee(file: Path, files: RepositoryFiles) -> Words:
    """Return a tee that appends to an hgrc so that it keeps its owner, or is created with the repository's."""
    return owner_of(file if file.exists() else files.dot_hg).command("tee")


def _section(hgrc: Hgrc, owner: Owner) -> Section:
    """Return what was read, with `~` as the owner of the repository has it."""
    return Section({item: _at_home(value, owner) for item, value in hgrc.values.items()}, hgrc.places)


def _at_home(value: str, owner: Owner) -> str:
    return owner.home + value[1:] if value.startswith("~/") and owner.is_another else value


def _line_of_extension(name: str, extension: Path) -> str:
    """Return a script for sed that makes the line of an extension lead to ours, in its section alone."""
    to = re.sub(r"([\\&#\n])", r"\\\1", str(extension))
    line = rf"s#^([[:space:]]*{re.escape(name)}[[:space:]]*=)[^\n]*#\1 {to}#"
    # It keeps the heading of the section that it is in, and looks at each line together with that.
    return rf"/^\[/h; G; /\n\[extensions\]/{line}; P; d"


def _first_copies(files: RepositoryFiles, root: Path, owner: Owner) -> Iterator[Finding]:
    foreign, hg = foreign_copies(files), owner.command("hg")
    if foreign:
        found = f"{len(foreign)} first copies came with the files of another repository"
        yield broken("SP503", root, found, repository=root, hg=hg)
    theirs = {each.path for each in foreign}
    late = []
    for waiting in files.waiting():
        if waiting.path not in theirs and is_committed(waiting):
            age = time.time() - waiting.path.stat().st_mtime
            if age > WAITING_LONG_SECONDS:
                late.append(age)
    if late:
        found = f"{len(late)} first copies wait, the oldest for {max(late):.0f} s"
        yield broken("SP506", root, found, repository=root, hg=hg)
    try:
        names = os.listdir(files.folder)
    except OSError:
        return
    for name in sorted(names):
        if name.startswith(DAMAGED_PREFIX):
            yield warning("SP508", root, f"{name} cannot be read", file=files.folder / name)


def _outboxes(
    situation: Situation,
    hgrc: Hgrc,
    files: RepositoryFiles,
    section: Section,
    settings: Settings,
    reported: Reported,
) -> Iterator[Finding]:
    """Look for a second outbox with events of the repository: the default one, or the one that the doctor looks at."""
    state, outbox = situation.state, Path(os.fsdecode(settings.outbox))
    knows = [os.path.realpath(place) for place in situation.origins("hg")]
    others = [place_of_outbox("", files.dot_hg)]
    if state is not None and str(files.dot_hg) in knows:
        others.append(state.path)
    for other in others:
        if os.path.realpath(other) == os.path.realpath(outbox) or not other.exists():
            continue
        keep, former = outbox, other
        if state is not None and other == state.path and len(knows) > 1:
            # It serves other repositories too, so it is not the one that must go.
            keep, former = other, outbox
        file = section.file("sourcepulse.outbox", default=files.dot_hg / "hgrc")
        if not reported.is_first("SP504", file, keep, former):
            continue
        shared = for_all_that_read(file, files)
        yield broken(
            "SP504",
            files.dot_hg.parent,
            f"the settings name {outbox}, and {other} has events of this repository as well{shared}",
            # If the settings name the one that is kept, there is nothing to write.
            hgrc=None if keep == outbox else file,
            keep=keep,
            former=former,
            retire=RETIRE,
            tee=_tee(file, files),
            lock=lock_path(former),
            options=_relay_options(situation, hgrc, files),
        )


def _relay_options(situation: Situation, hgrc: Hgrc, files: RepositoryFiles) -> Words:
    """Return the options that name the broker of a repository."""
    if not situation.places and (file := hgrc.values.get("sourcepulse.broker_file")):
        return shell_words(["--broker-file", str(files.dot_hg / file)])
    if not situation.places and (url := hgrc.values.get("sourcepulse.broker")):
        return shell_words(["--broker", "URL" if "@" in url else url])
    return situation.options(outbox=False)
