# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What all checks look at: the settings, and what the outbox records, read once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import SYSTEM_FILE, Config, default_files
from sourcepulse.errors import SourcePulseError
from sourcepulse.operations.doctor.read_only import read_outbox
from sourcepulse.operations.doctor.table import Words, shell_words
from sourcepulse.outbox.outbox import Origin, Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.streams import Place

#: How long another process may hold the outbox while its figures are read.
LOCK_WAIT_SECONDS = 2.0
#: Where an admin copies our units.
UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """What the outbox records of one stream; times are seconds since 1970."""

    broker: str | None
    pending: int
    oldest_at: float | None
    buried: int
    failures: int
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """What an outbox records that checks need."""

    path: Path
    origins: tuple[Origin, ...] = ()
    sources: tuple[str, ...] = ()
    streams: Mapping[str, StreamState] = field(default_factory=dict)
    problems: tuple[Mapping[str, str], ...] = ()
    #: Why the last sweep of a place failed, by kind and location.
    failed_sweeps: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        return sum(stream.pending for stream in self.streams.values())

    @property
    def oldest_at(self) -> float | None:
        return min((stream.oldest_at for stream in self.streams.values() if stream.oldest_at), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that is known before the checks run.

    `settings_problem` is why the settings could not be read; then `config` has those of the options alone.
    `state` is None if there is no outbox, or it cannot be read for `outbox_problem`.
    """

    config: Config
    settings_problem: str = ""
    outbox: Path | None = None
    outbox_problem: SourcePulseError | None = None
    state: OutboxState | None = None
    places: Mapping[str, Place] = field(default_factory=dict)
    repositories: Sequence[Path] = ()
    masters: Sequence[Path] = ()
    bugzillas: Sequence[Path] = ()
    #: With which URL a consumer of a stream logs in, for the probe.
    readers: Mapping[str, BrokerUrl] = field(default_factory=dict)
    #: Which file of a source names the outbox or the broker, because the settings do not.
    named_in: str = ""
    now: Callable[[], float] = time.time

    def origins(self, kind: str) -> list[str]:
        """Return the places of a kind that the outbox knows."""
        return [origin.location for origin in self.state.origins if origin.kind == kind] if self.state else []

    def options(self, *, outbox: bool = True) -> Words:
        """Return the options that give a command of ours these settings; "" if it finds them by itself."""
        words: list[str] = []
        origin = self.config.origin
        if origin is not None and origin.file is not None:
            words += ["--config", str(origin.file.absolute())]
        for key in ("outbox", "broker_file", "exchange", "restricted_broker_file", "restricted_exchange"):
            if key == "outbox" and not outbox:
                continue
            if self.is_argument(key) or (key == "outbox" and self.outbox and self.where(key) is None):
                words += [
                    f"--{key.replace('_', '-')}",
                    self._word(key),
                ]
        if self.is_argument("broker") and (url := self.config.broker()) is not None:
            words += ["--broker", "URL" if url.has_password else str(self.config.require("broker"))]
        return shell_words(words)

    def _word(self, key: str) -> str:
        value = str(self.outbox) if key == "outbox" else self.config.require(key)
        return str(Path(value).absolute()) if key == "outbox" or key.endswith("_file") else value

    def is_argument(self, key: str) -> bool:
        """Return whether an option sets a key."""
        layer = self.config.layers.get(key)
        return layer is not None and layer.where is None and bool(self.config.text(key))

    def where(self, key: str) -> str | None:
        """Return where a key is set: a path, the environment; None for an option or nowhere."""
        layer = self.config.layers.get(key)
        return layer.where if layer is not None else None

    def url_file(self, prefix: str) -> Path | None:
        """Return the file that contains the URL of a broker, None if that is no file."""
        named = self.config.text(f"{prefix}broker_file")
        where = named or self.where(f"{prefix}broker")
        return Path(where).absolute() if where and (named or Path(where).is_file()) else None

    def url_place(self, prefix: str) -> str:
        """Return where the URL of a broker is, for a sentence; and what to restart if that reads a copy."""
        file = self.url_file(prefix)
        units = () if file is None else units_with_a_copy(file)
        restart = f" (then run `systemctl restart {' '.join(units)}`, which reads a copy)" if units else ""
        return f"{file or self.where(f'{prefix}broker') or f'the option --{prefix}broker'}{restart}"

    def settings_file(self) -> Path:
        """Return the file in which settings belong that are missing."""
        origin = self.config.origin
        if origin is not None and origin.file is not None:
            return origin.file.absolute()
        return SYSTEM_FILE if os.geteuid() == 0 else default_files()[-1]


def read_state(path: Path) -> OutboxState:
    """Read what checks need; SourcePulseError if the outbox cannot be read."""
    return read_outbox(path, _state, lock_wait_s=LOCK_WAIT_SECONDS)


def _state(outbox: Outbox) -> OutboxState:
    read, now = figures(outbox), outbox.now()
    return OutboxState(
        path=outbox.path,
        origins=tuple(outbox.origins()),
        sources=tuple({row["source"]: None for row in read["sources"]}),
        streams={stream: _stream(row, now) for stream, row in read["streams"].items()},
        problems=tuple(read["problems"]),
        failed_sweeps={
            (row["kind"], row["location"]): str(row["last_report"]["error"])
            for row in read["origins"]
            if "error" in (row["last_report"] or {})
        },
    )


def _stream(row: Mapping[str, Any], now: float) -> StreamState:
    age = row["oldest_pending_age_s"]
    return StreamState(
        broker=row["broker"],
        pending=row["pending"],
        oldest_at=None if age is None else now - age,
        buried=row["buried"],
        failures=row["failures"],
        last_error=row["last_error"],
    )


def units_with_a_copy(file: Path, folder: Path = UNITS) -> tuple[str, ...]:
    """Return our units that read a copy of a file, which systemd makes when it starts them."""
    found = []
    for unit in sorted(folder.glob("sourcepulse-*.service")):
        with suppress(OSError):
            lines = unit.read_text(encoding="utf-8", errors="replace").splitlines()
            if any(line.startswith("LoadCredential=") and line.endswith(f":{file}") for line in lines):
                found.append(unit.stem)
    return tuple(found)
