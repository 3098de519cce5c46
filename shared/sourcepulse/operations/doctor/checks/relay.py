# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relay: whether one runs, is the right one, moves, and what it could not publish."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sourcepulse.brokers.url import redact
from sourcepulse.events.redaction import REDACTED, SENSITIVE
from sourcepulse.operations.doctor.finding import Finding, Job, broken, program, unchecked, warning, well
from sourcepulse.operations.doctor.situation import OutboxState, Situation
from sourcepulse.operations.doctor.table import Words, shell_words
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS, last_loop_at
from sourcepulse.relay.health.second_relay import SECOND_RELAY, is_fresh, lock_holder, processes_of
from sourcepulse.relay.on_demand import START_SECONDS, failed_start, is_on_demand
from sourcepulse.relay.relay import is_relayed
from sourcepulse.wake.listener import MODE as WAKE_MODE
from sourcepulse.wake.send import wake_path

#: A relay that runs sends an event within a second; a failed attempt is repeated within 30 s.
WAITING_LONG_SECONDS = 60.0

#: Any program may hold a lock, and its password may follow an option or `=`.
_SECRET_OPTION = re.compile(rf"(?P<name>--?[\w-]*{SENSITIVE})(?P<value>=.*)?$", re.IGNORECASE)
_URL = re.compile(r"(?is)[a-z][a-z0-9+.-]*://.*")

#: A shell in a session is part of none.
_UNIT = re.compile(r"^0::/system\.slice/(?:.*/)?(sourcepulse[\w@.:-]*\.service)$", re.MULTILINE)

UNIT = Path("/etc/systemd/system/sourcepulse-relay.service")


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield the job that looks at the relay of the outbox."""
    state = situation.state
    if state is not None:
        yield Job(id="SP401", about=str(state.path), run=lambda: _relay(situation, state))


def start_command(situation: Situation) -> Words:
    """Return the command that starts the relay: the service, if there is one."""
    if UNIT.exists() and shutil.which("systemctl"):
        return Words(f"systemctl restart {UNIT.stem}")
    return Words(f"{shell_words([program()])} relay {situation.options()}")


def _relay(situation: Situation, state: OutboxState) -> Iterator[Finding]:
    found = [*_running(situation, state), *_streams(situation, state), *_sweeps(state), *_wake(state)]
    yield from found
    if not found:
        runs = "running" if is_relayed(state.path) else "not running; a push starts it"
        yield well("SP401", state.path, f"{runs}; {state.pending} events are pending")


def _running(situation: Situation, state: OutboxState) -> Iterator[Finding]:
    path, now = state.path, situation.now()
    if is_relayed(path):
        yield from _lock_holder(situation, state)
        return
    start = start_command(situation)
    age = None if state.oldest_at is None else max(0.0, now - state.oldest_at)
    failed = failed_start(str(path), older_than_s=START_SECONDS, now=now)
    waits = "" if age is None else f"; {state.pending} pending, the oldest for {age:.0f} s"
    if failed is not None:
        yield broken("SP409", path, f"the relay that was started last is not running: {failed}{waits}", start=start)
    elif age is not None and (age > WAITING_LONG_SECONDS or not is_on_demand(str(path))):
        yield broken("SP401", path, f"no relay runs{waits}", start=start)
    elif not is_on_demand(str(path)):
        yield warning("SP402", path, "no relay runs, and no push has started one; nothing is pending", start=start)


def _lock_holder(situation: Situation, state: OutboxState) -> Iterator[Finding]:
    path, pid = state.path, lock_holder(state.path)
    what = f"process {pid} ({_command_of(pid)})" if pid else "an unknown process"
    yield from _second_relay(situation, state, pid)
    looped_at = last_loop_at(path)
    if looped_at is None:
        return
    late = situation.now() - looped_at
    if late > LOOP_MAX_SECONDS:
        found = f"{what} holds the lock, and its loops have not run for {late:.0f} s"
        yield broken("SP404", path, found, pid=pid or "PID")


def _second_relay(situation: Situation, state: OutboxState, pid: int | None) -> Iterator[Finding]:
    for problem in state.problems:
        if problem["name"] != SECOND_RELAY or not is_fresh(
            datetime.fromisoformat(problem["since"]).timestamp(), situation.now()
        ):
            continue
        starter, holder = processes_of(problem["message"]) or (0, 0)
        if holder and holder == pid:
            other = _described(starter) if _is_alive(starter) else f"process {starter}, which has ended"
            found = f"{problem['message']}; the relay is {_described(holder)}, and the other one {other}"
            yield warning("SP403", state.path, found, end=_ending(starter, holder))


def _ending(starter: int, holder: int) -> Words:
    """Return the command that ends one of two relays, but never the only one, nor a program that has other work."""
    if not (_is_relay(starter) and _is_relay(holder)):
        return Words(f"ps -fp {holder},{starter}" if _is_alive(starter) else f"ps -fp {holder}")
    # The one that waits replaces the other within seconds.
    extra = starter if unit_of(holder) else holder
    unit = unit_of(extra)
    return Words(f"systemctl stop {unit}" if unit else f"kill {extra}")


def _described(pid: int) -> str:
    unit = unit_of(pid)
    return f"process {pid}{f' of {unit}' if unit else ''} ({_command_of(pid)})"


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _is_relay(pid: int) -> bool:
    """Return whether a process is a relay of ours and not, for example, the master of Buildbot."""
    arguments = _command_of(pid).split(" ")
    return unit_of(pid) is not None or ("relay" in arguments and any("sourcepulse" in each for each in arguments))


def unit_of(pid: int) -> str | None:
    """Return the service of the system that a process belongs to; None if it is of none."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = _UNIT.search(groups)
    return match[1] if match else None


def _streams(situation: Situation, state: OutboxState) -> Iterator[Finding]:
    for stream, row in state.streams.items():
        place = situation.places.get(stream)
        about = f"{state.path} ({stream})"
        if place is not None and row.broker is not None and row.broker != str(place):
            found = f"its events went to {row.broker}, and the settings name {place}"
            yield broken("SP405", about, found, outbox=state.path)
        elif row.pending and row.failures:
            found = f"{row.pending} pending after {row.failures} failures: {row.last_error}"
            yield warning("SP406", about, found, options=situation.options())
        if row.buried:
            yield warning("SP407", about, f"{row.buried} events are buried", outbox=state.path)


def _sweeps(state: OutboxState) -> Iterator[Finding]:
    for (kind, location), error in state.failed_sweeps.items():
        yield warning("SP410", f"{kind} {location}", error, outbox=state.path, place=location)


def _wake(state: OutboxState) -> Iterator[Finding]:
    """Look at the socket through which writers wake the relay."""
    path = Path(wake_path(state.path))
    try:
        status = path.lstat()
        folder = path.parent.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        yield unchecked("SP408", path, f"cannot be looked at: {error.strerror}")
        return
    yield from socket_findings("SP408", path, status, folder.st_gid)


def socket_findings(id_: str, path: Path, status: os.stat_result, group: int) -> Iterator[Finding]:
    """Yield a finding if a wake's socket does not let its group write."""
    mode = stat.S_IMODE(status.st_mode)
    if mode != WAKE_MODE or status.st_gid != group:
        found = f"mode {mode:04o} and group {status.st_gid}; it needs mode {WAKE_MODE:04o} and group {group}"
        yield warning(id_, path, found, file=path, group=group)


def _command_of(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "its command is not visible here"
    words = [part.decode("utf-8", "replace") for part in raw.split(b"\0") if part]
    # One by one, because a password may contain spaces, and be like a port before them.
    shown = [_URL.sub(lambda match: redact(match[0]), word) for word in words]
    for number, word in enumerate(words):
        if (match := _SECRET_OPTION.match(word)) and match["value"]:
            shown[number] = f"{match['name']}={REDACTED}"
        elif match and number + 1 < len(words):
            shown[number + 1] = REDACTED
    return " ".join(shown)
