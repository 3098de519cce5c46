# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The section `[sourcepulse]` of the hgrc as checked values; a bad value is reported and its default used."""

import os
import socket
import stat
from typing import Any, NamedTuple

DEFAULT_OUTBOX = b"sourcepulse/outbox.db"
DEFAULT_MAX_CHANGESETS = 100
HIGHEST_MAX_CHANGESETS = 1000
_TRUE = frozenset({b"1", b"yes", b"true", b"on", b"always"})
_FALSE = frozenset({b"0", b"no", b"false", b"off", b"never"})


class Settings(NamedTuple):
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
    return _Reader(repo.ui, repo.sharedpath).settings()


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


class _Reader:
    def __init__(self, ui: Any, dot_hg: bytes) -> None:
        self.ui = ui
        self.dot_hg = dot_hg
        self.problems: list[str] = []

    def settings(self) -> Settings:
        self._check_names()
        name = self._name()
        published = self._switch(b"publish", default=True) and name is not None
        mirror = self._word(b"role", ("origin", "mirror")) == "mirror"
        return Settings(
            dot_hg=self.dot_hg,
            outbox=self._path(b"outbox") or os.path.join(self.dot_hg, DEFAULT_OUTBOX),
            broker=self._text(b"broker"),
            broker_file=self._path(b"broker_file"),
            start_relay=self._word(b"relay", ("auto", "off")) == "auto",
            published=published and not mirror,
            mirror=published and mirror,
            mirrors=self._switch(b"mirrors", default=False),
            name=name or b"",
            source=self._source(),
            repo_url=self._text(b"repo_url"),
            restricted=self._restricted(),
            detail=self._word(b"detail", ("files", "changesets", "refs")),
            max_changesets=self._number(b"max_changesets", DEFAULT_MAX_CHANGESETS, HIGHEST_MAX_CHANGESETS),
            commits=self._switch(b"commits", default=True),
            refuse=self._word(b"on_error", ("refuse", "lose")) == "refuse",
            auto_recover=self._switch(b"auto_recover", default=False),
            problems=tuple(self.problems),
            is_outside=name is None,
        )

    def _check_names(self) -> None:
        for key, _ in self.ui.configitems(SECTION):
            if key not in KEYS and b":" not in key:
                self._problem(key, "is an unknown setting")

    def _raw(self, key: bytes) -> bytes | None:
        value: bytes | None = self.ui.config(SECTION, key)
        return value or None

    def _text(self, key: bytes) -> str | None:
        value = self._raw(key)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def _path(self, key: bytes) -> bytes | None:
        value = self._raw(key)
        if value is None:
            return None
        return os.path.join(self.dot_hg, os.path.expandvars(os.path.expanduser(value)))

    def _word(self, key: bytes, words: tuple[str, ...]) -> str:
        value = self._text(key)
        if value is None or value in words:
            return value or words[0]
        self._problem(key, f"is {value!r}, must be {' or '.join(words)}; using {words[0]}")
        return words[0]

    def _number(self, key: bytes, default: int, highest: int) -> int:
        value = self._text(key)
        if value is None:
            return default
        if value.isascii() and value.isdigit() and int(value) <= highest:
            return int(value)
        self._problem(key, f"is {value!r}, must be 0 to {highest}; using {default}")
        return default

    def _switch(self, key: bytes, *, default: bool) -> bool:
        value = self._raw(key)
        if value is None:
            return default
        if value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
        word = "yes" if default else "no"
        self._problem(key, f"is {value.decode('utf-8', 'replace')!r}, must be yes or no; using {word}")
        return default

    def _name(self) -> bytes | None:
        """Return the repository's name with `/` between its components, None if it does not publish."""
        repository = os.path.dirname(self.dot_hg)
        root = self._raw(b"root")
        below: bytes | None = os.path.basename(repository)
        if root is not None:
            root = os.path.realpath(os.path.expandvars(os.path.expanduser(root)))
            prefix = root.rstrip(b"/") + b"/"
            below = repository[len(prefix) :] if repository.startswith(prefix) else None
        if below is None:
            return None
        override = self._raw(b"repository")
        if override is None:
            return below or b"repository"
        parts = [part for part in override.split(b"/") if part]
        if not parts:
            self._problem(b"repository", "does not name a repository; using the path")
            return below
        return b"/".join(parts)

    def _source(self) -> str:
        default = f"hg://{socket.gethostname()}"
        value = self._text(b"source")
        if value is None:
            return default
        host = value.removeprefix("hg://").partition("/")[0]
        printable = value.isascii() and all("!" <= letter <= "~" for letter in value)
        if value.startswith("hg://") and host and printable and not {"@", "?", "#"} & set(value):
            return value
        self._problem(b"source", f"is {value!r}, must be hg://HOST or hg://HOST/repository; using {default}")
        return default

    def _restricted(self) -> bool:
        # An untrusted .hg/hgrc may make a repository restricted, but not public.
        if self.ui.config(SECTION, b"visibility", untrusted=True) == b"restricted":
            return True
        word = self._word(b"visibility", ("auto", "public", "restricted"))
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

    def _problem(self, key: bytes, what: str) -> None:
        place = self.ui.configsource(SECTION, key).decode("utf-8", "replace")
        self.problems.append(f"{place}: [sourcepulse] {key.decode('utf-8', 'replace')} {what}")


SECTION = b"sourcepulse"
#: Every key of `[sourcepulse]`; defaults and meanings are in settings.py and in the help text.
KEYS = (
    b"outbox",
    b"broker",
    b"broker_file",
    b"relay",
    b"root",
    b"repository",
    b"source",
    b"repo_url",
    b"visibility",
    b"publish",
    b"role",
    b"mirrors",
    b"detail",
    b"max_changesets",
    b"commits",
    b"on_error",
    b"auto_recover",
    b"tree_admins",
    b"tree_users",
    b"tree_closed_words",
    b"tree_approval_words",
    b"tree_command",
    b"tree_unreachable",
)
