# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The settings of now: read again when a file has changed, kept while it is wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sourcepulse.config import FILE_VARIABLE, Config
from sourcepulse.errors import SourcePulseError

#: How often the files are looked at.
LOOK_SECONDS = 2.0
#: What of a gateway takes effect with the next start only.
FIXED = ("listen", "log", "queue", "exchange")

logger = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int, int] | None, ...]


Settings = TypeVar("Settings")


class LiveSettings(Generic[Settings]):
    """Settings that follow their files. `of` makes them of a configuration, and raises ConfigError if it is wrong.

    `fixed` are members that take effect with the next start only. With `quiet`, another process logs what is wrong.

    >>> settings = LiveSettings(config, lambda each: settings_of(each, args), fixed=FIXED)
    >>> settings.look()
    >>> settings().keep_s
    86400.0
    """

    def __init__(
        self, config: Config, of: Callable[[Config], Settings], *, fixed: Sequence[str] = (), quiet: bool = False
    ) -> None:
        self._of = of
        self._fixed = fixed
        self._quiet = quiet
        self._lock = threading.Lock()
        self._config = config
        self._now = of(config)
        self._stamp = self._stamped()
        self._named: set[str] = set()
        #: Why the settings of the file are not in effect; "" if they are.
        self.problem = ""

    def __call__(self) -> Settings:
        """Return the settings of now."""
        return self._now

    def config(self) -> Config:
        """Return the configuration, read again: for what the broker's file says now; raises ConfigError."""
        with self._lock:
            return self._config.again()

    def look(self) -> None:
        """Read the files again if one has changed; while one is wrong the former settings stay."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            with self._lock:
                config = self._config.again()
                settings = self._of(config)
                self._config = config
        except SourcePulseError as error:
            self.problem = f"{error}; the former settings stay"
            logger.log(logging.DEBUG if self._quiet else logging.ERROR, "%s", self.problem)
            return
        if not self._quiet and (self.problem or settings != self._now):
            logger.info("the settings were read again")
        for name in self._fixed:
            if getattr(settings, name) != getattr(self._now, name) and name not in self._named:
                self._named.add(name)
                logger.warning("%s has changed; that takes effect with the next start", name)
        self.problem = ""
        self._now = settings

    def _stamped(self) -> Stamp:
        return tuple(_stamp(path) for path in files_of(self._config))


def files_of(config: Config) -> tuple[Path, ...]:
    """Return the files that a configuration is read from, also those that do not exist yet."""
    origin = config.origin
    if origin is None:
        return ()
    if origin.file is not None:
        return (origin.file,)
    named = origin.environ.get(FILE_VARIABLE)
    return tuple(origin.default_files) if named is None else (Path(named),) if named else ()


def _stamp(path: Path) -> tuple[str, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_ino, status.st_mtime_ns, status.st_size
