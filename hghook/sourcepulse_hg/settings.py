# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The section `[sourcepulse]` of the hgrc as checked values; a bad value is reported and its default used.

This does not import Mercurial: the doctor decides by it as well, with what `hg config` prints instead of a `ui`.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from sourcepulse.events.record import Record
from sourcepulse_hg.commands.setting_keys import KEYS, RELAY_KEYS, SECTION

DEFAULT_OUTBOX = b"sourcepulse/outbox.db"
HIGHEST_MAX_CHANGESETS = 1000
#: The words that Mercurial reads as yes and no.
_YES = ("1", "yes", "true", "on", "always")
_NO = ("0", "no", "false", "off", "never")
_RELAYS = (
    "is a setting of the relay and has no effect here; set relay = off, and run a relay that has it in its "
    "configuration file"
)


class Settings(Record):
    """What the admin configured for one repository; paths are absolute.

    `problems` are sentences about bad values, each naming the key and where it was set. `published` is whether the
    repository publishes its own events, `mirror` whether it republishes those of the repository it pulls from, and
    `mirrors` whether its clients may do the same. `restricted` is whether its events go to the restricted stream.
    """

    dot_hg: bytes
    outbox: bytes
    broker: str | None
    broker_file: bytes | None
    start_relay: bool
    published: bool
    mirror: bool
    mirrors: bool
    name: bytes
    source: str
    repo_url: str | None
    restricted: bool
    detail: str
    max_changesets: int
    commits: bool
    refuse: bool
    auto_recover: bool
    problems: tuple[str, ...]
    #: The repository is not below `root`.
    is_outside: bool = False


def silence(settings: Settings) -> str | None:
    """Return why a repository publishes nothing; None if it publishes or is a mirror."""
    if settings.published or settings.mirror:
        return None
    return "publish = no" if settings.name else "it lies outside `root`, or `root` is mistyped"


def read_settings(repo: Any) -> Settings:
    """Read the settings of a repository; paths of a share are relative to the repository it shares."""
    return settings_of(repo.ui, repo.sharedpath)


def settings_of(ui: Any, dot_hg: bytes) -> Settings:
    """Return the settings in a configuration for the repository with this `.hg` directory."""
    reader = SettingsReader(ui)
    for key, _ in ui.configitems(SECTION):
        if key not in KEYS and b":" not in key:
            reader.problem(key, _RELAYS if key in RELAY_KEYS else "is an unknown setting")
    name = reader.name(os.path.dirname(dot_hg))
    published = reader.value(b"publish") and name is not None
    mirror = reader.value(b"role") == "mirror"
    return Settings(
        dot_hg=dot_hg,
        outbox=reader.path(b"outbox", dot_hg) or os.path.join(dot_hg, DEFAULT_OUTBOX),
        broker=reader.value(b"broker"),
        broker_file=reader.path(b"broker_file", dot_hg),
        start_relay=reader.value(b"relay") == "auto",
        published=published and not mirror,
        mirror=published and mirror,
        mirrors=reader.value(b"mirrors"),
        name=name or b"",
        source=reader.source(),
        repo_url=reader.value(b"repo_url"),
        restricted=reader.is_restricted(),
        detail=reader.value(b"detail"),
        max_changesets=reader.value(b"max_changesets"),
        commits=reader.value(b"commits"),
        refuse=reader.value(b"on_error") == "refuse",
        auto_recover=reader.value(b"auto_recover"),
        problems=tuple(reader.problems),
        is_outside=name is None,
    )


def exposed_password_file(ui: Any, settings: Settings) -> bytes | None:
    """Return the file that shows the broker's password to other users, None if there is none."""
    url = settings.broker
    if url is None or ":" not in url.partition("://")[2].rpartition("@")[0]:
        return None
    place = ui.configsource(SECTION, b"broker")
    path: bytes = place.rpartition(b":")[0]
    try:
        return path if os.stat(path).st_mode & stat.S_IROTH else None
    except OSError:
        # The setting came from the command line or the environment.
        return None


class SettingsReader:
    """Reads the section from Mercurial's configuration; `problems` are sentences about bad values."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.problems: list[str] = []

    def value(self, key: bytes) -> Any:
        """Return the value of a key, or its default if it is not set or bad."""
        known = KEYS[key]
        text = self.text(key)
        if text is None:
            return known[0] if isinstance(known, tuple) else known
        if isinstance(known, bool):
            if text.lower() in _YES + _NO:
                return text.lower() in _YES
        # Python would also read `+5` and `1_000`, and refuses thousands of digits.
        elif isinstance(known, int) and text.isascii() and text.isdigit():
            digits = text.lstrip("0") or "0"
            if len(digits) <= len(str(HIGHEST_MAX_CHANGESETS)) and int(digits) <= HIGHEST_MAX_CHANGESETS:
                return int(digits)
        if known is None or (isinstance(known, tuple) and text in known):
            return text
        if isinstance(known, tuple):
            default, permitted = known[0], " or ".join(known)
        elif isinstance(known, bool):
            default, permitted = "yes" if known else "no", "yes or no"
        else:
            default, permitted = str(known), f"0 to {HIGHEST_MAX_CHANGESETS}"
        self.problem(key, f"is {text!r}, must be {permitted}; using {default}")
        return known[0] if isinstance(known, tuple) else known

    def text(self, key: bytes) -> str | None:
        """Return the text of a key, None if it is not set or empty."""
        value = self.ui.config(SECTION, key)
        return value.decode("utf-8", "surrogateescape") if value else None

    def path(self, key: bytes, folder: bytes) -> bytes | None:
        """Return the path that a key names, relative to a folder; `ui.configpath` makes it relative to the hgrc."""
        value = self.ui.config(SECTION, key)
        return os.path.join(folder, _expanded(value)) if value else None

    def name(self, repository: bytes) -> bytes | None:
        """Return the repository's name with `/` between its components, None if it does not publish."""
        root = self.ui.config(SECTION, b"root")
        below: bytes | None = os.path.basename(repository)
        if root:
            prefix = os.path.realpath(_expanded(root)).rstrip(b"/") + b"/"
            below = repository[len(prefix) :] if repository.startswith(prefix) else None
        if below is None:
            return None
        override: bytes | None = self.ui.config(SECTION, b"repository")
        if not override:
            return below or b"repository"
        parts = [part for part in override.split(b"/") if part]
        if not parts:
            self.problem(b"repository", "does not name a repository; using the path")
            return below
        return b"/".join(parts)

    def source(self) -> str:
        default = f"hg://{socket.gethostname()}"
        value = self.text(b"source")
        if value is None:
            return default
        host = value.removeprefix("hg://").partition("/")[0]
        printable = value.isascii() and all("!" <= letter <= "~" for letter in value)
        if value.startswith("hg://") and host and printable and not {"@", "?", "#"} & set(value):
            return value
        self.problem(b"source", f"is {value!r}, must be hg://HOST or hg://HOST/repository; using {default}")
        return default

    def is_restricted(self) -> bool:
        # An untrusted .hg/hgrc may make a repository restricted, but not public.
        if self.ui.config(SECTION, b"visibility", untrusted=True) == b"restricted":
            return True
        word: str = self.value(b"visibility")
        if word != "auto":
            return word == "restricted"
        # Mercurial spells these with an underscore, but a dash is a likely typo, so both count. hgweb reads them from
        # untrusted files too.
        readers = [b"", b""]
        for key, value in self.ui.configitems(b"web", untrusted=True):
            # Values that `hg serve` sets itself are not text.
            if isinstance(value, bytes) and key.replace(b"_", b"-") in (b"allow-read", b"deny-read"):
                readers[key.startswith(b"deny")] = value.strip()
        return readers[0] not in (b"", b"*") or readers[1] != b""

    def problem(self, key: bytes, what: str) -> None:
        """Note what is wrong with a key, and where it was set."""
        place = self.ui.configsource(SECTION, key).decode("utf-8", "replace")
        self.problems.append(f"{place}: [sourcepulse] {key.decode('utf-8', 'replace')} {what}")


def _expanded(path: bytes) -> bytes:
    return os.path.expandvars(os.path.expanduser(path))
