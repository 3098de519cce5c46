# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse doctor` checks of a repository. This does not import Mercurial; it runs `hg config`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sourcepulse.config import load
from sourcepulse.errors import ConfigError, NothingThereError, SourcePulseError
from sourcepulse.operations.doctor.checks import broker
from sourcepulse.operations.doctor.doctor import examine_outbox, situation_of
from sourcepulse.operations.doctor.finding import Finding, Job, State, broken, unchecked, warning, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words
from sourcepulse_hg.pending.collect import DAMAGED_PREFIX, RepositoryFiles, find_repository, is_committed
from sourcepulse_hg.pending.foreign import foreign_copies
from sourcepulse_hg.pending.outbox_of import hg_program, other_hg_program, place_of_outbox

LIMIT_SECONDS = 8.0
#: How many hgs run beside each other, and how long further ones are started: a server may have many repositories.
WORKERS = 3
START_LIMIT_SECONDS = 6.0
#: Of more, what is well is not listed one by one.
SHOWN_MAX = 5
#: A push, or the relay, collects what is younger.
WAITING_LONG_SECONDS = 60.0

PACKAGE = "sourcepulse_hg"
_HOOK = "sourcepulse_hg.changegroup"
_IMPORT_FAILED = re.compile(r"failed to import extension \"?([\w.]+)\"?(.*)")
#: What hg writes about a line that it cannot read, and what the doctor prints instead of the line.
_UNREAD_LINE = re.compile(r"((?:config|parse) error at .+?:\d+: (?:unexpected leading whitespace)?).*")
_NOT_A_SETTING = r"\1 (this line is no setting)"
#: The doctor may run as root, who trusts only files of root; the pushers trust those of their group.
_TRUST = ("--config", "trusted.users=*", "--config", "trusted.groups=*")
_SECTIONS = ("extensions", "hooks", "sourcepulse")


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


def checks(situation: Situation) -> Iterator[Job]:
    """Yield a job for each repository that was named, and some for all that the outbox knows."""
    named = {os.path.realpath(path): None for path in situation.repositories}
    for place in named:
        yield Job(id="SP501", about=place, run=partial(_repository, situation, place, is_named=True))
    known = [place for place in situation.origins("hg") if os.path.dirname(os.path.realpath(place)) not in named]
    until = time.monotonic() + START_LIMIT_SECONDS
    for share in (known[number::WORKERS] for number in range(WORKERS)):
        if share:
            about = share[0] if len(share) == 1 else f"{len(share)} repositories"
            yield Job(id="SP501", about=about, run=partial(_known, situation, share, until))


def _known(situation: Situation, places: Sequence[str], until: float) -> Iterator[Finding]:
    """Look at many repositories: at the files of all, and at the hgrc of as many as there is time for."""
    publishing = left = 0
    for place in places:
        is_late = time.monotonic() >= until
        left += is_late
        for finding in _repository(situation, place, reads_hgrc=not is_late):
            if finding.state is State.OK and len(places) > SHOWN_MAX:
                publishing += 1
            else:
                yield finding
    if publishing:
        yield well("SP501", "repositories", f"the extension or the hook is enabled in {publishing}")
    if left:
        why = f"there was no time to read the hgrc of {left}; name those that matter with --repository"
        yield unchecked("SP501", "repositories", why, counts=False)


def _repository(
    situation: Situation, place: str, *, is_named: bool = False, reads_hgrc: bool = True
) -> Iterator[Finding]:
    try:
        files = find_repository(place)
    except NothingThereError as error:
        yield (broken if is_named else warning)("SP507", place, str(error))
        return
    root = files.dot_hg.parent
    found = list(_first_copies(files, root))
    yield from found
    if not reads_hgrc:
        return
    try:
        hgrc = read_hgrc(root, hg_program())
    except ConfigError as error:
        yield unchecked("SP501", root, str(error))
        return
    except SourcePulseError as error:
        yield broken("SP509", root, str(error), repository=root)
        return
    enabled = list(_enabled(hgrc, files, root))
    yield from enabled
    outbox = place_of_outbox(hgrc.values.get("sourcepulse.outbox", ""), files.dot_hg)
    two = list(_outboxes(situation, hgrc, files, outbox))
    yield from two
    if not found and not enabled and not two:
        how = "the extension" if hgrc.extension() else "the hook, with its weaker guarantee,"
        yield well("SP501", root, f"{how} is enabled and publishes to {outbox}")
    if is_named:
        yield from _its_own(situation, hgrc, outbox)


def read_hgrc(root: Path, program: str | None) -> Hgrc:
    """Return what Mercurial reads for a repository; ConfigError if hg cannot be run, SourcePulseError if it fails."""
    if program is None:
        raise ConfigError("no hg was found to read the hgrc")
    ask = [program, "--cwd", str(root), *_TRUST, "config", "--source", "-Tjson", *_SECTIONS]
    try:
        done = subprocess.run(
            ask,
            env={**os.environ, "HGPLAIN": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        items = json.loads(done.stdout or "[]")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"hg cannot be run: {error}") from None
    except ValueError:
        items = None
    errors = done.stderr.decode("utf-8", "replace").strip()
    if items is None or (done.returncode > 1 and not items):
        # hg repeats the line that it cannot read, which may have a password anywhere.
        raise SourcePulseError(f"hg config fails: {_UNREAD_LINE.sub(_NOT_A_SETTING, errors) or done.returncode}")
    return Hgrc(
        {item["name"]: item["value"] for item in items}, {item["name"]: item["source"] for item in items}, errors
    )


def _enabled(hgrc: Hgrc, files: RepositoryFiles, root: Path) -> Iterator[Finding]:
    extension, local = Path(__file__).resolve().parent, files.dot_hg / "hgrc"
    name = hgrc.extension()
    if name is None:
        if not hgrc.hook():
            found = "neither the extension nor the hook is enabled for this repository"
            yield broken("SP501", root, found, extension=extension, hgrc=local)
        return
    file = hgrc.places[f"extensions.{name}"].rpartition(":")[0] or str(local)
    script = rf"s#^([[:space:]]*{re.escape(name)}[[:space:]]*=).*#\1 {extension}#"
    if failure := hgrc.import_failure(name):
        yield broken("SP502", root, failure, script=script, hgrc=file)
    elif (other := other_hg_program()) is not None:
        # With a Python of its own it may not find a name that ours finds.
        with suppress(SourcePulseError):
            if failure := read_hgrc(root, other).import_failure(name):
                yield warning("SP502", root, f"{other}: {failure}", script=script, hgrc=file)
    if hgrc.values.get("sourcepulse.publish", "").lower() in ("no", "false", "off", "0", "never"):
        place = hgrc.places["sourcepulse.publish"]
        yield warning("SP505", root, f"publish = no, set in {place}: nothing is published", repository=root)


def _first_copies(files: RepositoryFiles, root: Path) -> Iterator[Finding]:
    foreign = foreign_copies(files)
    if foreign:
        found = f"{len(foreign)} first copies came with the files of another repository"
        yield broken("SP503", root, found, repository=root)
    theirs = {each.path for each in foreign}
    late = []
    for waiting in files.waiting():
        if waiting.path not in theirs and is_committed(waiting):
            age = time.time() - waiting.path.stat().st_mtime
            if age > WAITING_LONG_SECONDS:
                late.append(age)
    if late:
        yield broken("SP506", root, f"{len(late)} first copies wait, the oldest for {max(late):.0f} s", repository=root)
    try:
        names = os.listdir(files.folder)
    except OSError:
        return
    for name in sorted(names):
        if name.startswith(DAMAGED_PREFIX):
            yield warning("SP508", root, f"{name} cannot be read", file=files.folder / name)


def _outboxes(situation: Situation, hgrc: Hgrc, files: RepositoryFiles, outbox: Path) -> Iterator[Finding]:
    """Look for a second outbox with events of the repository: the default one, or the one that the doctor looks at."""
    state = situation.state
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
        found = f"the settings name {outbox}, and {other} has events of this repository as well"
        yield broken(
            "SP504",
            files.dot_hg.parent,
            found,
            hgrc=files.dot_hg / "hgrc",
            keep=keep,
            former=former,
            options=_relay_options(situation, hgrc, files),
        )


def _relay_options(situation: Situation, hgrc: Hgrc, files: RepositoryFiles) -> Words:
    """Return the options that name the broker of a repository."""
    if not situation.places and (file := hgrc.values.get("sourcepulse.broker_file")):
        return Words(f"--broker-file {files.dot_hg / file}")
    if not situation.places and (url := hgrc.values.get("sourcepulse.broker")):
        return Words("--broker URL" if "@" in url else f"--broker {url}")
    return situation.options(outbox=False)


def _its_own(situation: Situation, hgrc: Hgrc, outbox: Path) -> Iterator[Finding]:
    """Look at the outbox and the broker that the hgrc of a repository names, unless the doctor looks at them anyway."""
    if situation.outbox is None or os.path.realpath(situation.outbox) != os.path.realpath(outbox):
        given = {key: value for key in ("broker", "broker_file") if (value := hgrc.values.get(f"sourcepulse.{key}"))}
        try:
            config = load(given, environ={})
        except ConfigError as error:
            yield broken("SP101", outbox, str(error))
            config = load({}, environ={})
        own = situation_of(config, outbox, now=situation.now)
        yield from examine_outbox(own)
        for job in broker.jobs(own):
            yield from job.run()
