# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The settings: whether they can be read, name a broker, and hide its password."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, warning, well
from sourcepulse.operations.doctor.situation import Situation

_ABOUT = "settings"
_UNREADABLE = os.strerror(errno.EACCES)


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield the job that looks at the settings."""
    yield Job(id="SP101", about=_ABOUT, run=lambda: _settings(situation))


def _settings(situation: Situation) -> Iterator[Finding]:
    if _UNREADABLE in situation.settings_problem:
        # Nor may any user but the relay's, who may get it from systemd.
        yield unchecked(
            "SP101", _ABOUT, f"{situation.settings_problem}; run the doctor as root, or as the relay's user"
        )
        return
    if situation.settings_problem:
        yield broken("SP101", _ABOUT, situation.settings_problem)
        return
    named = [str(situation.url_file(prefix) or "") for prefix in ("", "restricted_")]
    exposed = [Path(name) for name in dict.fromkeys(named) if name and _others_read(Path(name))]
    urls = [place.url for place in situation.places.values()]
    if any(url.has_password for url in urls):
        for path in exposed:
            yield warning("SP103", path, "others may read it, and it contains a password", file=path)
    if not situation.places:
        if situation.masters or situation.repositories or situation.bugzillas:
            # Their own settings name the broker.
            yield well("SP102", _ABOUT, "no broker is set here; the sources have settings of their own")
        else:
            yield _no_broker(situation)
        return
    streams = ", ".join(f"{stream} events to {place}" for stream, place in situation.places.items())
    source = f"; so says {situation.named_in}, and the settings name none" if situation.named_in else ""
    yield well("SP101", _ABOUT, streams + source)


def _no_broker(situation: Situation) -> Finding:
    file = situation.settings_file()
    # The outbox is written too, if it is known and no file names it.
    outbox = situation.outbox if situation.where("outbox") is None else None
    values = {"folder": file.parent, "url_file": file.with_name("broker"), "file": file, "outbox": outbox}
    return broken("SP102", _ABOUT, "neither the settings nor a source that is known names a broker", **values)


def _others_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
