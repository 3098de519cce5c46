# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Leave a repository's first copies to the relay, where it has proved that it collects them.

The relay leaves a file beside them when it has collected there and its events reach the broker. With this proof a push
only wakes the relay, and needs no right on the outbox. Without it, or if first copies wait too long, the push collects
them itself and reports what is wrong. This does not import Mercurial.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sourcepulse.wake.send import SUFFIX, send_wake
from sourcepulse_hg.pending.first_copy import FOLDER, replace_file

if TYPE_CHECKING:
    from sourcepulse.outbox.outbox import Outbox

NAME = b"relayed"
KIND = b"hg"
#: First copies whose ages differ by more show that the relay does not keep up, or that it cannot collect here.
WAIT_MAX_SECONDS = 2.0
_PROOF_MAX_BYTES = 8_192


def wake_relay(outbox: bytes, dot_hg: bytes) -> bool:
    """Make the relay of an outbox collect a repository; False if it does not do that, so that the caller has to."""
    folder = os.path.join(dot_hg, FOLDER)
    real_outbox = os.path.realpath(outbox)
    socket = os.fsdecode(real_outbox) + SUFFIX
    try:
        with open(os.path.join(folder, NAME), "rb", buffering=0) as file:
            known = file.read(_PROOF_MAX_BYTES)
        if known != _proof(real_outbox, dot_hg, os.lstat(socket).st_uid) or _is_slow(folder):
            return False
    except OSError:
        return False
    return send_wake(socket, KIND + b"\0" + _location(dot_hg))


def note_relayed(outbox: Outbox, dot_hg: bytes) -> None:
    """Leave the proof after the relay has collected a repository, or remove it if the events do not reach the broker.

    Then pushers hear why. It appears only while no event waits, because then the broker has confirmed all.
    """
    path = os.path.join(dot_hg, FOLDER, NAME)
    with outbox.reading() as db:
        is_failing = db.execute("SELECT 1 FROM deliveries WHERE failures > 0 LIMIT 1").fetchone() is not None
        is_waiting = db.execute("SELECT 1 FROM events WHERE state = 'pending' LIMIT 1").fetchone() is not None
    with suppress(OSError):
        if is_failing:
            os.unlink(path)
            return
        proof = _proof(os.fsencode(outbox.path), dot_hg, os.geteuid())
        if _read(path) != proof and not is_waiting:
            replace_file(path, proof, like=dot_hg)


def _proof(outbox: bytes, dot_hg: bytes, relay_uid: int) -> bytes:
    """Return what another outbox, a copied repository or a relay of another user does not have."""
    status = os.stat(outbox)
    return b"%d %d %d %d %s\n" % (relay_uid, os.stat(dot_hg).st_ino, status.st_dev, status.st_ino, outbox)


def _read(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_PROOF_MAX_BYTES)
    except FileNotFoundError:
        return None


def _is_slow(folder: bytes) -> bool:
    # Compared with each other, because the clock of a file server may be another one.
    times = []
    for name in os.listdir(folder):
        if name.startswith(b"r-"):
            with suppress(FileNotFoundError):
                times.append(os.stat(os.path.join(folder, name)).st_mtime)
    return bool(times) and max(times) - min(times) > WAIT_MAX_SECONDS


def _location(dot_hg: bytes) -> bytes:
    """Return the location under which the outbox knows a repository."""
    real = os.path.realpath(dot_hg)
    try:
        real.decode()
    except UnicodeDecodeError:
        from pathlib import Path

        from sourcepulse_hg.pending.collect import location_of

        return location_of(Path(os.fsdecode(real))).encode("ascii")
    return real
