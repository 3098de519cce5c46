# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables `[web]` and `[trees.<name>]` of the configuration file, checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.errors import ConfigError, quoted

LISTEN = "127.0.0.1:8080"
KEEP_HOURS = 24.0
#: More than two years.
KEEP_HOURS_MAX = 20_000.0
CLIENTS_MAX = 5_000
#: More files than a process may usually have open.
CLIENTS_HIGHEST = 1_000_000
#: A host with or without a port, as in the header of a request.
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
#: Tier 1 is watched by sheriffs; higher ones matter less.
TIER = 1
TIER_HIGHEST = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSettings:
    """One builder of a tree: its name, its label on the board, None for the usual one, and its tier."""

    name: str
    label: str | None = None
    tier: int = TIER


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """One tree: the repository that its pushes go to and the addresses that are in no event."""

    name: str
    #: As in the events of its pushes, such as `integration/inbound`.
    repository: str
    #: What builds call this repository, where that differs.
    repository_urls: tuple[str, ...] = ()
    #: The address of its hg web and of Bugzilla, without the slash at the end.
    hg_web: str | None = None
    bugzilla: str | None = None
    #: In the order of the board; empty for those that were seen.
    builders: tuple[BuilderSettings, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The settings of a gateway at one moment."""

    listen: str = LISTEN
    #: The gateway's own log; None where the broker is a log.
    log: Path | None = None
    exchange: str = DEFAULT_EXCHANGE
    restricted: bool = False
    #: The durable queue at the broker; None for the one that is named from the host.
    queue: str | None = None
    keep_s: float = KEEP_HOURS * 3600
    #: The names by which browsers ask for this gateway, beside the address it listens at.
    hosts: tuple[str, ...] = ()
    #: The pages of other sites that may read the streams, such as `https://tree.example.org`.
    origins: tuple[str, ...] = ()
    clients_max: int = CLIENTS_MAX
    access_log: bool = False
    #: The folder with the schemas of the site's own types, of the setting of the same name.
    schemas_dir: Path | None = None
    trees: Mapping[str, TreeSettings] = field(default_factory=dict)


def web_settings(
    web: Mapping[str, Any],
    trees: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    exchange: str,
    restricted: bool,
    schemas_dir: str | None = None,
) -> WebSettings:
    """Return the settings of the two tables; `options` that are not None win. ConfigError names what is wrong."""
    where = "[web]"
    _check_keys(web, WEB_KEYS, where)
    values: dict[str, Any] = {}
    for key, check in WEB_KEYS.items():
        if key in web:
            values[key] = check(web[key], f"{key} in {where}")
    values |= {
        key: WEB_KEYS[key](value, f"--{key.replace('_', '-')}") for key, value in options.items() if value is not None
    }
    if "keep_hours" in values:
        values["keep_s"] = values.pop("keep_hours") * 3600
    known: dict[str, str] = {}
    tree_settings = {name: _tree(name, table) for name, table in trees.items()}
    for name, tree in tree_settings.items():
        other = known.setdefault(tree.repository, name)
        if other != name:
            raise ConfigError(f"[trees.{other}] and [trees.{name}] have the same repository; keep one")
    return WebSettings(
        **values,
        exchange=exchange,
        restricted=restricted,
        schemas_dir=None if schemas_dir is None else Path(schemas_dir),
        trees=tree_settings,
    )


def _tree(name: str, table: Any) -> TreeSettings:
    where = f"[trees.{name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{name} in [trees] must be a table: write {where}, and its keys below")
    _check_keys(table, TREE_KEYS, where)
    if "repository" not in table:
        raise ConfigError(f"{where} lacks its repository, as in the events of its pushes: 'integration/inbound'")
    return TreeSettings(
        name=name, **{key: check(table[key], f"{key} in {where}") for key, check in TREE_KEYS.items() if key in table}
    )


def _check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown key {quoted(key)} in {where}; {hint}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a non-empty string")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of strings")
    return tuple(_text(each, f"each of {where}") for each in value)


def _yes(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false")
    return value


def _whole(lowest: int, highest: int) -> Callable[[Any, str], int]:
    def check(value: Any, where: str) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ConfigError(f"{where} must be a whole number from {lowest} to {highest}")
        return value

    return check


def _hours(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not 0 < value <= KEEP_HOURS_MAX:
        raise ConfigError(f"{where} must be a number of hours above 0, at most {KEEP_HOURS_MAX:.0f}")
    return float(value)


def _path(value: Any, where: str) -> Path:
    path = Path(_text(value, where))
    if not path.is_absolute():
        raise ConfigError(f"{where} must be an absolute path, not {quoted(str(path))}")
    return path


def _repository(value: Any, where: str) -> str:
    path = _text(value, where).strip("/")
    if "://" in path or not path:
        raise ConfigError(f"{where} is the path of the repository, such as 'integration/inbound', not a URL")
    return path


def _url(value: Any, where: str) -> str:
    text = _text(value, where)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(each.isspace() for each in text):
        raise ConfigError(f"{where} must be an address that begins with http:// or https://")
    if "@" in parts.netloc:
        # The text may be a password, so no part of it is repeated.
        raise ConfigError(f"{where} must not contain a user or a password, because every page shows it")
    return text.rstrip("/")


def _origin(value: Any, where: str) -> str:
    text = _url(value, where)
    if urlsplit(text)[2:] != ("", "", ""):
        raise ConfigError(f"{where} must be a scheme, a host and perhaps a port, such as 'https://tree.example.org'")
    return text.lower()


def _origins(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_origin(each, f"each of {where}") for each in _texts(value, where))


def _urls(value: Any, where: str) -> tuple[str, ...]:
    """Return what builds call a repository: it is compared and never shown, so ssh://hg@host/path is one as well."""
    for each in _texts(value, where):
        if ":" in each.partition("://")[2].partition("/")[0].rpartition("@")[0]:
            raise ConfigError(f"each of {where} must be without a password, as it is in the events of builds")
    return tuple(each.rstrip("/") for each in value)


def _builders(value: Any, where: str) -> tuple[BuilderSettings, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of names, or of tables such as {{name = 'linux64', tier = 2}}")
    found = tuple(_builder(each, f"an entry of {where}") for each in value)
    names = [builder.name for builder in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where} has {quoted(name)} twice")
    return found


def _builder(value: Any, where: str) -> BuilderSettings:
    if isinstance(value, str):
        return BuilderSettings(name=_text(value, where))
    if not isinstance(value, dict) or "name" not in value:
        raise ConfigError(f"{where} must be a name, or a table such as {{name = 'linux64', tier = 2}}")
    _check_keys(value, _BUILDER_KEYS, where)
    return BuilderSettings(**{key: _BUILDER_KEYS[key](each, f"{key} of {where}") for key, each in value.items()})


def _hosts(value: Any, where: str) -> tuple[str, ...]:
    for each in _texts(value, where):
        if not HOST.fullmatch(each.lower()):
            raise ConfigError(f"each of {where} must be a name and perhaps a port, such as 'tree.example.org'")
    return tuple(each.lower() for each in value)


def _listen(value: Any, where: str) -> str:
    text = _text(value, where)
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{where} must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080")
    return text


_Check = Callable[[Any, str], Any]
#: Each key with what checks it.
WEB_KEYS: dict[str, _Check] = {
    "listen": _listen,
    "log": _path,
    "queue": _text,
    "keep_hours": _hours,
    "hosts": _hosts,
    "origins": _origins,
    "clients_max": _whole(1, CLIENTS_HIGHEST),
    "access_log": _yes,
}
TREE_KEYS: dict[str, _Check] = {
    "repository": _repository,
    "repository_urls": _urls,
    "hg_web": _url,
    "bugzilla": _url,
    "builders": _builders,
}
_BUILDER_KEYS: dict[str, _Check] = {"name": _text, "label": _text, "tier": _whole(1, TIER_HIGHEST)}
