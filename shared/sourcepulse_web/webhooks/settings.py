# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin decides about all webhooks, with the defaults: where they lead, and when an event is tried again."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sourcepulse.errors import ConfigError, quoted
from sourcepulse_web.values import (
    Check,
    check_keys,
    check_number,
    check_path,
    check_text,
    check_texts,
    check_whole,
    check_yes,
)

KEEP_DAYS = 7.0
#: Seven days of ten events a second, 1.3 kB each; the log takes no more room than its events need.
KEEP_BYTES = 8 << 30
#: Of HTTPS and HTTP.
PORTS = (443, 80)
HOOKS_MAX = 200
OWNER_HOOKS_MAX = 20
#: Where a proxy may connect from whose header names the user.
PROXIES = ("127.0.0.1", "::1")
POST_SECONDS = 15.0
RETRY_SECONDS = (0.0, 5.0, 300.0, 1800.0)
POISON_TRIES = 5
POISON_SECONDS = 600.0
POISON_AGAIN_SECONDS = 60.0
PARK_SECONDS = 72 * 3600.0
RETRY_AFTER_MAX_SECONDS = 86_400.0

#: More than two years, as `keep_hours` of the gateway.
KEEP_DAYS_MAX = 833.0
KEEP_HIGHEST_BYTES = 1 << 50
HOOKS_HIGHEST = 10_000
POST_HIGHEST_SECONDS = 60.0
RETRIES_MAX = 20
RETRY_HIGHEST_SECONDS = 86_400.0
TRIES_HIGHEST = 100
POISON_HIGHEST_MINUTES = 1_440.0
PARK_HIGHEST_HOURS = 8_760.0
RETRY_AFTER_HIGHEST_HOURS = 168.0
PORT_HIGHEST = 65_535
TABLE = "[webhooks]"
#: With or without a port.
_ALLOWED = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
#: What a browser or another proxy sets, so that it names no user.
_OTHER_HEADERS = (
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "origin",
    "referer",
    "user-agent",
    "via",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an event is tried again, set aside, and when its hook is parked."""

    #: The pauses before the first, the second and each further try; the last one is repeated.
    retry_s: tuple[float, ...] = RETRY_SECONDS
    #: An event is set aside after so many refusals, over at least this time.
    poison_tries: int = POISON_TRIES
    poison_s: float = POISON_SECONDS
    #: The time for an event that is refused as one before it was, where the receiver accepts others.
    poison_again_s: float = POISON_AGAIN_SECONDS
    #: A hook is parked after this time without success.
    park_s: float = PARK_SECONDS
    #: A longer Retry-After is cut to this.
    retry_after_max_s: float = RETRY_AFTER_MAX_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """The table `[webhooks]` of the configuration file.

    >>> WebhookSettings(allow=("chat.internal", "127.0.0.1:8065"), origin="tree.example.org")
    """

    #: The hook store; None for `webhooks.db` beside the gateway's log.
    file: Path | None = None
    keep_days: float = KEEP_DAYS
    #: The gateway's own log is trimmed at this size as well.
    keep_bytes: int = KEEP_BYTES
    #: Hosts that may be private and without TLS: at any of `ports`, or as `chat.internal:8065` at that port only.
    allow: tuple[str, ...] = ()
    ports: tuple[int, ...] = PORTS
    #: Whether http is accepted for every host; else only for those in `allow`.
    http: bool = False
    #: A certificate authority of the site, beside those of the system.
    ca_file: Path | None = None
    hooks_max: int = HOOKS_MAX
    owner_hooks_max: int = OWNER_HOOKS_MAX
    #: The header in which a trusted proxy names the user, such as X-Remote-User; None for no user pages.
    proxy_header: str | None = None
    proxies: tuple[str, ...] = PROXIES
    #: The URL of a login that may publish events about hooks; None for that of the gateway.
    broker_file: Path | None = None
    #: Where a Bugzilla's sidecar is asked whether an event is still public.
    bugzilla_outbox: Path | None = None
    #: The name of this system in WebHook-Request-Origin; None where there is no handshake.
    origin: str | None = None
    post_seconds: float = POST_SECONDS
    schedule: Schedule = field(default_factory=Schedule)


def webhook_settings(table: Mapping[str, Any], *, hosts: Sequence[str] = ()) -> WebhookSettings:
    """Return the settings of the table; ConfigError names the key that is wrong.

    `hosts` are those of `[web]`: unless `origin` is set, the first one names this system in a handshake, or else the
    host's name does.

    >>> webhook_settings({"park_hours": 24}).schedule.park_s
    86400.0
    """
    check_keys(table, (*WEBHOOK_KEYS, *SCHEDULE_KEYS), TABLE)
    values = {key: check(table[key], f"{key} in {TABLE}") for key, check in WEBHOOK_KEYS.items() if key in table}
    if "origin" not in values:
        name = (hosts[0].partition(":")[0] if hosts else "") or socket.gethostname().lower()
        values["origin"] = name if _DNS_NAME.fullmatch(name) else socket.gethostname().lower()
    schedule = {
        member: check(table[key], f"{key} in {TABLE}") for key, (member, check) in SCHEDULE_KEYS.items() if key in table
    }
    found = WebhookSettings(**values, schedule=Schedule(**schedule))
    if found.owner_hooks_max > found.hooks_max:
        raise ConfigError(f"owner_hooks_max in {TABLE} is more than hooks_max; lower it, or raise hooks_max")
    return found


def check_ca_file(settings: WebhookSettings) -> None:
    """Raise ConfigError if the certificates of `ca_file` cannot be used now."""
    if settings.ca_file is None:
        return
    try:
        ssl.create_default_context().load_verify_locations(settings.ca_file)
    except ssl.SSLError:
        raise ConfigError(f"ca_file in {TABLE}, {settings.ca_file}, has no certificates in PEM") from None
    except OSError as error:
        raise ConfigError(f"ca_file in {TABLE}, {settings.ca_file}, cannot be read: {error.strerror}") from None


def _allowed(value: Any, where: str) -> tuple[str, ...]:
    for each in check_texts(value, where):
        found = _ALLOWED.fullmatch(each.lower())
        if found is None or not 0 < int(found[2] or 1) <= PORT_HIGHEST:
            raise ConfigError(
                f"each of {where} must be a host and perhaps a port, such as 'chat.internal:8065', not {quoted(each)}"
            )
    return tuple(each.lower() for each in value)


def _ports(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{where} must be a list of ports, such as [443, 80]")
    check = check_whole(1, PORT_HIGHEST)
    return tuple(check(each, f"each of {where}") for each in value)


def _header(value: Any, where: str) -> str:
    name = check_text(value, where)
    if not _HEADER.fullmatch(name):
        raise ConfigError(f"{where} must be the name of a header, such as 'X-Remote-User', not {quoted(name)}")
    if name.lower() in _OTHER_HEADERS or name.lower().startswith(("x-forwarded-", "sec-")):
        raise ConfigError(
            f"{where} must be a header that only the proxy sets, such as 'X-Remote-User'; {name} is set by browsers or "
            "for other purposes"
        )
    return name


def _addresses(value: Any, where: str) -> tuple[str, ...]:
    found = []
    for each in check_texts(value, where):
        try:
            found.append(str(ip_address(each)))
        except ValueError:
            raise ConfigError(f"each of {where} must be the address of a proxy, such as '127.0.0.1'") from None
    return tuple(found)


def _dns_name(value: Any, where: str) -> str:
    name = check_text(value, where).lower()
    if not _DNS_NAME.fullmatch(name):
        raise ConfigError(f"{where} must be the DNS name of this system, such as 'tree.example.org'")
    return name


def _retries(value: Any, where: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= RETRIES_MAX:
        raise ConfigError(f"{where} must be a list of 1 to {RETRIES_MAX} pauses in seconds, such as [0, 5, 300, 1800]")
    for each in value:
        if type(each) not in (int, float) or not 0 <= each <= RETRY_HIGHEST_SECONDS:
            raise ConfigError(f"each of {where} must be a number of seconds from 0 to {RETRY_HIGHEST_SECONDS:.0f}")
    if value[-1] < 1:
        raise ConfigError(f"the last of {where} is repeated without an end, so it must be at least 1 second")
    return tuple(float(each) for each in value)


def _in_seconds(highest: float, unit: str, seconds: float) -> Check[float]:
    check = check_number(0, highest, unit)
    return lambda value, where: check(value, where) * seconds


#: Each key with what checks it.
WEBHOOK_KEYS: dict[str, Check[Any]] = {
    "file": check_path,
    "keep_days": check_number(0, KEEP_DAYS_MAX, "days"),
    "keep_bytes": check_whole(1, KEEP_HIGHEST_BYTES),
    "allow": _allowed,
    "ports": _ports,
    "http": check_yes,
    "ca_file": check_path,
    "hooks_max": check_whole(1, HOOKS_HIGHEST),
    "owner_hooks_max": check_whole(1, HOOKS_HIGHEST),
    "proxy_header": _header,
    "proxies": _addresses,
    "broker_file": check_path,
    "bugzilla_outbox": check_path,
    "origin": _dns_name,
    "post_seconds": check_number(0, POST_HIGHEST_SECONDS, "seconds"),
}
#: Each key of the schedule with its member and what checks it.
SCHEDULE_KEYS: dict[str, tuple[str, Check[Any]]] = {
    "retry_seconds": ("retry_s", _retries),
    "poison_tries": ("poison_tries", check_whole(1, TRIES_HIGHEST)),
    "poison_minutes": ("poison_s", _in_seconds(POISON_HIGHEST_MINUTES, "minutes", 60)),
    "poison_again_minutes": ("poison_again_s", _in_seconds(POISON_HIGHEST_MINUTES, "minutes", 60)),
    "park_hours": ("park_s", _in_seconds(PARK_HIGHEST_HOURS, "hours", 3600)),
    "retry_after_hours": ("retry_after_max_s", _in_seconds(RETRY_AFTER_HIGHEST_HOURS, "hours", 3600)),
}
