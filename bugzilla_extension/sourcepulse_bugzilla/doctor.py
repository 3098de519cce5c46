# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse doctor` checks of a Bugzilla, from its files: no Perl is run and the database is not asked."""

from __future__ import annotations

import grp
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sourcepulse.operations.doctor.checks.relay import socket_findings
from sourcepulse.operations.doctor.finding import Finding, Job, broken, program, unchecked, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words
from sourcepulse.outbox.files import is_locked
from sourcepulse_bugzilla.extension_path import extension_path
from sourcepulse_bugzilla.perl.requests import SCRIPT

UNIT = Path("/etc/systemd/system/sourcepulse-bugzilla-sidecar.service")
#: checksetup.pl adds the parameters after the tables.
_PARAMS = ("sourcepulse_site_id", "sourcepulse_secret")
_WEB_GROUP = re.compile(r"^\s*\$webservergroup\s*=\s*['\"]([^'\"]*)['\"]", re.MULTILINE)
_READ = 0o4


def checks(situation: Situation) -> Iterator[Job]:
    """Yield a job for each Bugzilla that was named or that the outbox knows."""
    for place in dict.fromkeys([*situation.origins("bugzilla"), *map(os.path.realpath, situation.bugzillas)]):
        yield Job(id="SP701", about=str(place), run=partial(_bugzilla, situation, Path(place)))


def _bugzilla(situation: Situation, folder: Path) -> Iterator[Finding]:
    link = folder / SCRIPT.parent.parent
    values = {"bugzilla": folder, "link": link, "extension": extension_path()}
    if not (folder / "Bugzilla.pm").is_file():
        yield broken("SP701", folder, "this is not the folder of a Bugzilla: there is no Bugzilla.pm", **values)
        return
    if not (folder / SCRIPT).is_file():
        yield broken("SP701", folder, f"there is no {folder / SCRIPT}", **values)
        return
    found = [*_readable(folder, link, values), *_set_up(folder)]
    if not any(finding.id == "SP703" for finding in found):
        found += _sidecar(situation, folder)
    yield from found
    if not found:
        yield well("SP701", folder, "the extension is set up, and a sidecar serves this Bugzilla")


def _readable(folder: Path, link: Path, values: dict[str, Path]) -> Iterator[Finding]:
    """Look at the modes on the way to the extension; the web server's group is that of the setting or of its link."""
    group = _web_group(folder)
    real = Path(os.path.realpath(link))
    for path in (real / "Extension.pm", *real.parents):
        try:
            status = path.stat()
        except OSError as error:
            yield unchecked("SP705", folder, f"{path} cannot be looked at: {error.strerror}")
            return
        needed = _READ if path.name == "Extension.pm" else 0o1
        if status.st_mode & needed or (status.st_gid == group and status.st_mode & needed << 3):
            continue
        if group is None:
            why = f"{path} is closed to others, and it is not known whether the web server is in its group"
            yield unchecked("SP705", folder, why, counts=False)
        else:
            yield broken("SP705", folder, f"{path} is closed to the web server", **values)
        return


def _set_up(folder: Path) -> Iterator[Finding]:
    path = _data(folder) / "params.json"
    try:
        params = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        params = {}
    except (OSError, ValueError) as error:
        yield unchecked("SP703", folder, f"{path} cannot be read: {error}")
        return
    missing = [name for name in _PARAMS if not params.get(name)]
    if missing:
        yield broken("SP703", folder, f"{path} does not have {' and '.join(missing)}", bugzilla=folder)


def _sidecar(situation: Situation, folder: Path) -> Iterator[Finding]:
    data = _data(folder)
    try:
        runs = is_locked(data / "sourcepulse.lock")
    except FileNotFoundError:
        runs = False
    except OSError as error:
        yield unchecked("SP704", folder, f"{data / 'sourcepulse.lock'} cannot be looked at: {error.strerror}")
        return
    if not runs:
        yield broken("SP704", folder, "no process holds the sidecar's lock", start=_start(situation, folder))
        return
    path = data / "sourcepulse.sock"
    try:
        status = path.lstat()
    except OSError as error:
        yield unchecked("SP702", path, f"it cannot be looked at: {error.strerror}")
        return
    group = _web_group(folder)
    yield from socket_findings("SP702", path, status, status.st_gid if group is None else group)


def _start(situation: Situation, folder: Path) -> Words:
    if UNIT.exists():
        return Words(f"systemctl restart {UNIT.stem}")
    known = situation.options()
    options = set(known.split())
    more: list[object] = []
    # The sidecar reads no default configuration file.
    if not {"--outbox", "--config"} & options and situation.outbox is not None:
        more += ["--outbox", situation.outbox.absolute()]
    if not {"--broker-file", "--broker", "--config"} & options and (file := situation.url_file("")) is not None:
        more += ["--broker-file" if situation.config.text("broker_file") else "--config", file]
    begin = shell_words([program(), "bugzilla-sidecar", "--bugzilla", folder])
    return Words(" ".join(filter(None, [begin, known, shell_words(more)])))


def _web_group(folder: Path) -> int | None:
    """Return the group of the web server, as localconfig names it; None if it names none."""
    try:
        match = _WEB_GROUP.search((folder / "localconfig").read_text(encoding="utf-8", errors="replace"))
        return grp.getgrnam(match[1]).gr_gid if match and match[1] else None
    except (OSError, KeyError):
        return None


def _data(folder: Path) -> Path:
    """Return where a Bugzilla keeps its data; sites that share an installation have a folder each."""
    return folder / "data" / os.environ.get("PROJECT", "")
