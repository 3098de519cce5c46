# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Broker URLs: parsed strictly, never shown with a password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from sourcepulse.errors import ConfigError
from sourcepulse.events.redaction import redact_query

#: Every scheme, with the port that is used if the URL names none (0: no port).
SCHEMES = {
    "amqp": 5672,
    "amqps": 5671,
    "stomp+rabbitmq": 61613,
    "stomps+rabbitmq": 61614,
    "stomp+activemq": 61613,
    "stomps+activemq": 61614,
    "file": 0,
}
#: ActiveMQ has no virtual hosts.
_WITHOUT_VHOST = frozenset({"stomp+activemq", "stomps+activemq"})
#: RabbitMQ's management API, whose URL is what a browser opens; the plugin listens at 15672 unless configured.
MANAGEMENT_SCHEMES = {"http": 80, "https": 443}

#: What may follow the `?`: for every scheme over a network, and additionally for those with TLS.
NETWORK_OPTIONS = frozenset({"heartbeat"})
TLS_OPTIONS = frozenset({"ca", "cert", "key"})
#: For RabbitMQ over STOMP, which declares a missing exchange over AMQP.
RABBITMQ_STOMP_OPTIONS = frozenset({"amqp_port"})
#: Options whose values may be shown.
_PLAIN_OPTIONS = NETWORK_OPTIONS | TLS_OPTIONS | RABBITMQ_STOMP_OPTIONS
#: Shown instead of whatever may be a password.
_HIDDEN = "***"

PORT_MAX = 65_535
_HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<address>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_USER_END = re.compile(r"[:/?#]")
_NO_PORT = re.compile(r":(?![0-9]{1,5}(?:[,/?]|$))[^,\]]*$")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: In a text of any kind: a user and what may be a password, up to the last `@` of the word; or, if the word has none
#: and what follows the user is no port, up to the last `@` of the line, because a password may contain spaces.
_LOGIN = re.compile(
    r"(?i)\b(?!file:///)(?P<scheme>[a-z][a-z0-9+.-]+://)(?P<user>[^\s:/?#@]*)"
    r"(?:(?P<rest>\S*)@|:(?![0-9]{1,5}(?:\W|$))[^\n]*@)"
)


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
        """Parse a URL; raises ConfigError, without the password in its text, if it is wrong."""
        try:
            return _parse(text.strip())
        except ValueError as error:
            raise ConfigError(f"the broker URL {redact(text.strip())!r} cannot be read: {error}") from None

    @classmethod
    def parse_management(cls, text: str) -> BrokerUrl:
        """Parse the URL of a management API, whose `path` is that of the proxy before it; raises like `parse`."""
        try:
            return _parse_management(text.strip())
        except ValueError as error:
            raise ConfigError(f"the management URL {redact(text.strip())!r} cannot be read: {error}") from None

    @property
    def tls(self) -> bool:
        """Return whether the connection is encrypted."""
        return self.scheme.partition("+")[0] in ("amqps", "stomps", "https")

    @property
    def has_password(self) -> bool:
        """Return whether the URL carries a secret."""
        return bool(self.password)

    def option(self, name: str) -> str | None:
        """Return the value of a `?name=value` option, or None."""
        return dict(self.options).get(name)

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{quote(self.path, errors='surrogateescape')}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        hosts = ",".join(host_text(host, port) for host, port in self.hosts)
        if self.scheme in MANAGEMENT_SCHEMES:
            return f"{self.scheme}://{user}{hosts}{self.path}"
        vhost = "" if self.scheme in _WITHOUT_VHOST else f"/{quote(self.vhost, safe='')}"
        return f"{self.scheme}://{user}{hosts}{vhost}"


def host_text(host: str, port: int) -> str:
    """Return a host and its port as they are written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def redact(text: str) -> str:
    """Return a URL, even a malformed one, without anything that could be a password."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or not _SCHEME.fullmatch(scheme):
        # It may be a password alone.
        return _HIDDEN if text else ""
    before, at, place = rest.rpartition("@")
    if at:
        # Everything before the last '@' may belong to a password that was not escaped.
        user = _USER_END.split(before, maxsplit=1)[0]
        place = f"{user}@{place}" if user == before else f"{user}:{_HIDDEN}@{place}"
    elif scheme != "file":
        # If the host was forgotten, what looks like its port is the password.
        place = _NO_PORT.sub(f":{_HIDDEN}", place)
    place, question, query = place.partition("?")
    shown = [_redact_option(item) for item in query.split("&")]
    return f"{scheme}{separator}{place}{question}{'&'.join(shown)}"


def hide_passwords(text: str) -> str:
    """Return a text of any kind without the passwords of the URLs in it; their users and hosts are kept."""
    return redact_query(_LOGIN.sub(_hide_login, text))


def _hide_login(match: re.Match[str]) -> str:
    return match[0] if match["rest"] == "" else f"{match['scheme']}{match['user']}:{_HIDDEN}@"


def _redact_option(item: str) -> str:
    name, equals, _ = item.partition("=")
    return item if name in _PLAIN_OPTIONS or not item else f"{name}={_HIDDEN}" if equals else _HIDDEN


def _parse(text: str) -> BrokerUrl:
    # No message repeats a part of the text, because an unescaped character can make any part belong to the password.
    scheme, separator, rest = text.partition("://")
    # Schemes are case-insensitive (RFC 3986 section 3.1).
    scheme = scheme.lower()
    if not separator and text.lower().startswith("file:"):
        raise ValueError("write file:// and the absolute path of the log, as in file:///var/lib/sourcepulse/log.db")
    if scheme not in SCHEMES or not separator:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"its scheme is {'unknown' if separator else 'missing'}; known are {known}")
    if scheme == "file":
        return BrokerUrl(scheme=scheme, path=_file_path(rest))
    before, question, query = rest.partition("?")
    authority, _, vhost = before.partition("/")
    if vhost == "/" and scheme not in _WITHOUT_VHOST:
        # Kombu and Celery write the virtual host `/` this way, so many existing URLs do.
        vhost = ""
    if "#" in rest or "/" in vhost:
        raise ValueError("the virtual host is one word after the host; write %2F for '/' and %23 for '#'")
    if vhost and scheme in _WITHOUT_VHOST:
        raise ValueError("ActiveMQ has no virtual hosts; nothing may follow the host's '/'")
    if "@" in vhost or "@" in query:
        raise ValueError("in user and password write %2F for '/', %3F for '?', %23 for '#' and %40 for '@'")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    return BrokerUrl(
        scheme=scheme,
        hosts=tuple(_host(item, SCHEMES[scheme]) for item in hosts.split(",")),
        user=_unquote(user, "user"),
        password=_unquote(password, "password"),
        vhost=_unquote(vhost, "virtual host") or "/",
        options=_options(scheme, query) if question else (),
    )


def _parse_management(text: str) -> BrokerUrl:
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in MANAGEMENT_SCHEMES or not separator:
        raise ValueError("it begins with http:// or https://, as in https://user:password@host:15671")
    before, question, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    if "#" in rest or "@" in path or "@" in query:
        raise ValueError("in user and password write %2F for '/', %3F for '?', %23 for '#' and %40 for '@'")
    path = f"{slash}{path}".rstrip("/")
    if path.endswith("/api"):
        raise ValueError("leave out the '/api' at its end")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    return BrokerUrl(
        scheme=scheme,
        hosts=tuple(_host(item, MANAGEMENT_SCHEMES[scheme]) for item in hosts.split(",")),
        user=_unquote(user, "user"),
        password=_unquote(password, "password"),
        path=path,
        options=_options(scheme, query) if question else (),
    )


def _file_path(rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash or not path or path.endswith("/"):
        raise ValueError("a file URL has three slashes and an absolute path: file:///var/lib/sourcepulse/log.db")
    if "?" in path or "#" in path:
        raise ValueError("a file URL has no options; write %3F for '?' and %23 for '#' in its path")
    # A file name is bytes; what is not UTF-8 is decoded as os.fsdecode does.
    plain = unquote(path, errors="surrogateescape")
    if "\0" in plain:
        raise ValueError("its path has a zero byte")
    return f"/{plain}"


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError("each host is a name, an IPv4 address or an IPv6 address in [], and may have :port")
    port = int(match["port"] or default_port)
    if not 1 <= port <= PORT_MAX:
        raise ValueError(f"a port is a number from 1 to {PORT_MAX}")
    return (match["name"] or match["address"]).lower(), port


def _options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    options: dict[str, str] = {}
    known = frozenset() if scheme in MANAGEMENT_SCHEMES else NETWORK_OPTIONS
    if BrokerUrl(scheme=scheme).tls:
        known |= TLS_OPTIONS
    if scheme.endswith("+rabbitmq"):
        known |= RABBITMQ_STOMP_OPTIONS
    for item in query.split("&"):
        name, equals, value = item.partition("=")
        if name not in known or not equals:
            raise ValueError(f"an option after the '?' is not one of {', '.join(sorted(known))}")
        if name in options:
            raise ValueError(f"the option {name} is given twice")
        options[name] = _unquote(value, f"option {name}")
    if not options.get("heartbeat", "0").isdecimal():
        raise ValueError("the option heartbeat is a number of whole seconds")
    port = options.get("amqp_port", "1")
    if not port.isdecimal() or not 1 <= int(port) <= PORT_MAX:
        raise ValueError(f"the option amqp_port is a number from 1 to {PORT_MAX}")
    return tuple(options.items())


def _unquote(text: str, what: str) -> str:
    if _BAD_PERCENT.search(text):
        raise ValueError(f"in its {what} a '%' is not followed by two hex digits; write %25 for '%'")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"its {what} is not UTF-8") from None
