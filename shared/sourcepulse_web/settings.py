# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables `[web]` and `[trees.<name>]` of the configuration file, checked, and `[webhooks]` with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.file.log import KEEP_BYTES
from sourcepulse.errors import ConfigError, quoted
from sourcepulse_web.values import (
    Check,
    check_keys,
    check_number,
    check_path,
    check_text,
    check_texts,
    check_url,
    check_whole,
    check_yes,
)
from sourcepulse_web.webhooks.settings import SCHEDULE_KEYS, WEBHOOK_KEYS, WebhookSettings, webhook_settings

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
    #: None while webhooks are off.
    webhooks: WebhookSettings | None = None

    @property
    def log_keep_s(self) -> float:
        """The seconds that the gateway's own log keeps an event: also for hooks whose receiver is away."""
        return max(self.keep_s, self.webhooks.keep_days * 86_400 if self.webhooks is not None else 0.0)

    @property
    def log_keep_bytes(self) -> int:
        """The bytes that the gateway's own log keeps at most."""
        return KEEP_BYTES if self.webhooks is None else self.webhooks.keep_bytes


def web_settings(
    web: Mapping[str, Any],
    trees: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    exchange: str,
    restricted: bool,
    schemas_dir: str | None = None,
    webhooks: Mapping[str, Any] | None = None,
) -> WebSettings:
    """Return the settings of the tables; `options` that are not None win. ConfigError names what is wrong.

    `webhooks` is the table of that name, None if the file has none.
    """
    where = "[web]"
    check_keys(web, WEB_KEYS, where, elsewhere={"[webhooks]": {*WEBHOOK_KEYS, *SCHEDULE_KEYS}})
    values: dict[str, Any] = {}
    for key, check in WEB_KEYS.items():
        if key in web:
            values[key] = check(web[key], f"{key} in {where}")
    values |= {
        key: WEB_KEYS[key](value, f"--{key.replace('_', '-')}") for key, value in options.items() if value is not None
    }
    if "keep_hours" in values:
        values["keep_s"] = values.pop("keep_hours") * 3600
    if webhooks is not None and restricted:
        raise ConfigError(
            "[webhooks] is refused with --restricted, because restricted events are never POSTed; use a configuration "
            "file without it for this gateway"
        )
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
        webhooks=None if webhooks is None else webhook_settings(webhooks, hosts=values.get("hosts", ())),
    )


def _tree(name: str, table: Any) -> TreeSettings:
    where = f"[trees.{name}]"
    if not isinstance(table, dict):
        raise ConfigError(f"{name} in [trees] must be a table: write {where}, and its keys below")
    check_keys(table, TREE_KEYS, where)
    if "repository" not in table:
        raise ConfigError(f"{where} lacks its repository, as in the events of its pushes: 'integration/inbound'")
    return TreeSettings(
        name=name, **{key: check(table[key], f"{key} in {where}") for key, check in TREE_KEYS.items() if key in table}
    )


def _repository(value: Any, where: str) -> str:
    path = check_text(value, where).strip("/")
    if "://" in path or not path:
        raise ConfigError(f"{where} is the path of the repository, such as 'integration/inbound', not a URL")
    return path


def _origin(value: Any, where: str) -> str:
    text = check_url(value, where)
    if urlsplit(text)[2:] != ("", "", ""):
        raise ConfigError(f"{where} must be a scheme, a host and perhaps a port, such as 'https://tree.example.org'")
    return text.lower()


def _origins(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_origin(each, f"each of {where}") for each in check_texts(value, where))


def _urls(value: Any, where: str) -> tuple[str, ...]:
    """Return what builds call a repository: it is compared and never shown, so ssh://hg@host/path is one as well."""
    for each in check_texts(value, where):
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
        return BuilderSettings(name=check_text(value, where))
    if not isinstance(value, dict) or "name" not in value:
        raise ConfigError(f"{where} must be a name, or a table such as {{name = 'linux64', tier = 2}}")
    check_keys(value, _BUILDER_KEYS, where)
    return BuilderSettings(**{key: _BUILDER_KEYS[key](each, f"{key} of {where}") for key, each in value.items()})


def _hosts(value: Any, where: str) -> tuple[str, ...]:
    for each in check_texts(value, where):
        if not HOST.fullmatch(each.lower()):
            raise ConfigError(f"each of {where} must be a name and perhaps a port, such as 'tree.example.org'")
    return tuple(each.lower() for each in value)


def _listen(value: Any, where: str) -> str:
    text = check_text(value, where)
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"{where} must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080")
    return text


#: Each key with what checks it.
WEB_KEYS: dict[str, Check[Any]] = {
    "listen": _listen,
    "log": check_path,
    "queue": check_text,
    "keep_hours": check_number(0, KEEP_HOURS_MAX, "hours"),
    "hosts": _hosts,
    "origins": _origins,
    "clients_max": check_whole(1, CLIENTS_HIGHEST),
    "access_log": check_yes,
}
TREE_KEYS: dict[str, Check[Any]] = {
    "repository": _repository,
    "repository_urls": _urls,
    "hg_web": check_url,
    "bugzilla": check_url,
    "builders": _builders,
}
_BUILDER_KEYS: dict[str, Check[Any]] = {"name": check_text, "label": check_text, "tier": check_whole(1, TIER_HIGHEST)}
