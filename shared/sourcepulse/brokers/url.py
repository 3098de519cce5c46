# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Broker URLs: one address model, read strictly, never shown with a password."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from sourcepulse.errors import ConfigError

#: Every scheme, with the port that stands when the URL names none (0: no port).
SCHEMES = {"amqp": 5672, "amqps": 5671, "file": 0}

#: What may follow the `?`, for every scheme that has a network behind it.
TLS_OPTIONS = frozenset({"ca", "cert", "key"})
_OPTIONS = {
    "amqp": frozenset({"heartbeat"}),
    "amqps": frozenset({"heartbeat"}) | TLS_OPTIONS,
    "file": frozenset[str](),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUrl:
    """Where a broker is and how to log in; `str()` and `repr()` leave the password out.

    Several hosts (`amqp://u:p@a:5672,b:5672/vhost`) are tried in turn.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    vhost: str = "/"
    path: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> BrokerUrl:
        """Read a URL; ConfigError, without the password, says what is wrong with it."""
        try:
            return _parse(text.strip())
        except ValueError as error:
            raise ConfigError(f"the broker URL {redact(text)!r} cannot be read: {error}") from None

    @property
    def has_password(self) -> bool:
        """Tell whether the URL carries a secret."""
        return bool(self.password)

    def option(self, name: str) -> str | None:
        """Give the value of a `?name=value` option, or None."""
        return dict(self.options).get(name)

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{quote(self.path)}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{user}{hosts}/{quote(self.vhost, safe='')}"


def redact(text: str) -> str:
    """Give a URL, however malformed, without anything that could be a password."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text if "@" not in text else "***@" + text.rpartition("@")[2]
    credentials, at, place = rest.rpartition("@")
    if not at:
        return text
    return f"{scheme}://{credentials.partition(':')[0]}:***@{place}"


def _parse(text: str) -> BrokerUrl:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"the scheme {scheme if separator else ''!r} is unknown; known are {known}")
    if scheme == "file":
        parts = urlsplit(text)
        if (
            parts.netloc not in ("", "localhost")
            or not parts.path.startswith("/")
            or parts.path.endswith("/")
        ):
            raise ValueError(
                "a file URL has three slashes and an absolute path: file:///var/lib/sourcepulse/log.db"
            )
        if parts.query or parts.fragment:
            raise ValueError("a file URL has no options")
        return BrokerUrl(scheme=scheme, path=unquote(parts.path))
    authority, _, tail = rest.partition("/")
    if "?" in authority:
        authority, _, query = authority.partition("?")
        vhost_text = ""
    else:
        vhost_text, _, query = tail.partition("?")
    if "#" in query or "#" in vhost_text or "/" in vhost_text:
        raise ValueError("the virtual host is one word after the host; write %2F for '/' and %23 for '#'")
    credentials, _, hosts_text = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    return BrokerUrl(
        scheme=scheme,
        hosts=tuple(_host(item, SCHEMES[scheme]) for item in hosts_text.split(",")),
        user=unquote(user),
        password=unquote(password),
        vhost=unquote(vhost_text) or "/",
        options=_options(scheme, query),
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    port = parts.port
    if port == 0:
        raise ValueError("port 0 is no port")
    return parts.hostname, port or default_port


def _options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    for name, _ in pairs:
        if name not in _OPTIONS[scheme]:
            known = ", ".join(sorted(_OPTIONS[scheme])) or "none"
            raise ValueError(f"the option {name!r} is unknown; known are {known}")
    return tuple(pairs)
