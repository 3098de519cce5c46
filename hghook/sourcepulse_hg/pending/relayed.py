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
#: The relay touches the proof with each sweep, every 15 s; an older one shows that it does not succeed any more.
PROOF_MAX_SECONDS = 45.0
_PROOF_MAX_BYTES = 8_192


def wake_relay(outbox: bytes, dot_hg: bytes) -> bool:
    """Make the relay of an outbox collect a repository; False if it does not do that, so that the caller has to."""
    return is_relayed_here(outbox, dot_hg) and ask_to_collect(outbox, dot_hg)


def is_relayed_here(outbox: bytes, dot_hg: bytes) -> bool:
    """Return whether the relay of an outbox has proved that it collects a repository, and keeps up with it."""
    folder = os.path.join(dot_hg, FOLDER)
    real_outbox = os.path.realpath(outbox)
    try:
        known, touched_at = _read(os.path.join(folder, NAME))
        is_proof = known == _proof(real_outbox, dot_hg, os.lstat(real_outbox + SUFFIX.encode()).st_uid)
        return is_proof and not _is_slow(folder, touched_at)
    except OSError:
        return False


def ask_to_collect(outbox: bytes, dot_hg: bytes) -> bool:
    """Send a wake that names a repository, whether or not the relay can collect there; False if it gets none."""
    return send_wake(os.fsdecode(os.path.realpath(outbox)) + SUFFIX, KIND + b"\0" + _location(dot_hg))


def note_relayed(outbox: Outbox, dot_hg: bytes) -> None:
    """Leave the proof after the relay has collected a repository, or remove it if the events do not reach the broker.

    Then pushers hear why. It appears only while no event waits, because then the broker has confirmed all.
    """
    path = os.path.join(dot_hg, FOLDER, NAME)
    if any(is_failing(outbox, stream) for stream in outbox.relayed_streams):
        forget_relayed(dot_hg)
        return
    with suppress(OSError):
        proof = _proof(os.path.realpath(os.fsencode(outbox.path)), dot_hg, os.geteuid())
        if _read(path)[0] == proof:
            os.utime(path)
        elif not any(map(outbox.has_pending, outbox.relayed_streams)):
            replace_file(path, proof, like=dot_hg)


def forget_relayed(dot_hg: bytes) -> None:
    """Remove the proof; pushes collect themselves from now on. Never raises."""
    with suppress(OSError):
        os.unlink(os.path.join(dot_hg, FOLDER, NAME))


def is_failing(outbox: Outbox, stream: str) -> bool:
    """Return whether the last attempt to publish a stream failed."""
    with outbox.reading() as db:
        query = "SELECT 1 FROM deliveries WHERE stream = ? AND failures > 0"
        return db.execute(query, (stream,)).fetchone() is not None


def _proof(outbox: bytes, dot_hg: bytes, relay_uid: int) -> bytes:
    """Return what another outbox, a copied or moved repository or a relay of another user does not have."""
    status = os.stat(outbox)
    ids = b"%d %d %d %d" % (relay_uid, os.stat(dot_hg).st_ino, status.st_dev, status.st_ino)
    return b"%s %s\n%s\n" % (ids, outbox, _location(dot_hg))


def _read(path: bytes) -> tuple[bytes, float]:
    """Return the content of a regular file and when it was last written; nothing and 0.0 if there is none."""
    try:
        # A pipe at this place would keep its reader waiting.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b"", 0.0
    try:
        return os.read(fd, _PROOF_MAX_BYTES), os.fstat(fd).st_mtime
    finally:
        os.close(fd)


def _is_slow(folder: bytes, proved_at: float) -> bool:
    # Compared with each other, because the clock of a file server may be another one.
    times = []
    for name in os.listdir(folder):
        if name.startswith(b"r-"):
            with suppress(FileNotFoundError):
                times.append(os.stat(os.path.join(folder, name)).st_mtime)
    if not times:
        return False
    return max(times) - min(times) > WAIT_MAX_SECONDS or max(times) - proved_at > PROOF_MAX_SECONDS


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
