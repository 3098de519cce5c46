# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the URL of a webhook may be: strict, so that every program that reads it sees the same host.

No error repeats more of a URL than its scheme, its host or its port, because the rest may be a secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from encodings.idna import ToASCII, ToUnicode
from ipaddress import IPv4Address, IPv6Address

from sourcepulse.errors import ConfigError, quoted
from sourcepulse_web.webhooks.post.special_addresses import refusal
from sourcepulse_web.webhooks.settings import WebhookSettings

URL_MAX_CHARACTERS = 2000
#: RFC 1035, section 2.3.4.
HOST_MAX_CHARACTERS = 253
LABEL_MAX_CHARACTERS = 63
PORT_MAX = 65_535
PORTS_SHOWN = 10
SCHEME_PORTS = {"https": 443, "http": 80}
#: The ends of names that lead into a network or a machine: RFC 6761, 6762 and 8375, and a decision of ICANN of 2024.
PRIVATE_ENDS = ("localhost", "local", "internal", "home.arpa")
#: What browsers read as a dot in a name, beside the dot itself (RFC 3490, section 3.1).
DOTS = frozenset("\u3002\uff0e\uff61")
EXAMPLE = "https://chat.example.org/in/7"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)")
_BRACKETS = re.compile(r"\[([^\[\]]*)\](?::(.*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
#: What a URL parser of the Web reads as an IPv4 address: its last part is a number, also octal or hexadecimal.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a POST goes.

    >>> check_url("https://Chat.Example.org/in?room=7", WebhookSettings())
    Target(scheme='https', host='chat.example.org', port=443, allowed=False)
    """

    scheme: str
    #: A name in small ASCII letters, or an address without brackets.
    host: str
    port: int
    #: Whether the admin allows this host, at this port, by name, so that its addresses may be private.
    allowed: bool
    #: What follows the host, which may be a secret.
    path_query: str = field(repr=False)
    url: str = field(repr=False)

    @property
    def host_header(self) -> str:
        """The host, and the port if it is not the usual one, as in the header Host."""
        usual = self.port == SCHEME_PORTS[self.scheme]
        return bracketed(self.host) if usual else f"{bracketed(self.host)}:{self.port}"


def check_url(text: str, settings: WebhookSettings) -> Target:
    """Return where a URL leads; ConfigError with one sentence if a webhook may not lead there.

    A literal address is checked here; those of a name are checked before each POST, see `address.resolve`.
    """
    _check_characters(text)
    parts = _URL.fullmatch(text)
    if parts is None:
        raise ConfigError(f"the URL of a webhook begins with https:// and a host, as in {EXAMPLE}")
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3]
    if not rest.isascii():
        raise ConfigError("what follows the host in a webhook's URL must be ASCII; write UTF-8 with %, as in %C3%BC")
    if scheme not in SCHEME_PORTS:
        raise ConfigError(f"the URL of a webhook begins with https://, not with {quoted(parts[1])}")
    if "@" in authority:
        raise ConfigError(
            "the URL of a webhook must not contain a user or a password; a receiver checks the signature instead"
        )
    host_text, port_text = _split_authority(authority)
    host = _host(host_text)
    port = SCHEME_PORTS[scheme] if port_text is None else _port(port_text)
    allowed = is_allowed(host, port, settings)
    if scheme == "http" and not (settings.http or allowed):
        raise ConfigError(
            "the URL of a webhook begins with https://, because anyone on the way can read and change what is sent "
            f'over http; the admin can allow it for this host in [webhooks]: allow = ["{_entry(host, port, settings)}"]'
        )
    _check_port(host, port, settings)
    if not allowed:
        _check_public(host)
    path_query = rest if rest.startswith("/") else f"/{rest}"
    target = Target(scheme=scheme, host=host, port=port, allowed=allowed, path_query=path_query, url="")
    url = f"{scheme}://{target.host_header}{path_query}"
    return Target(scheme=scheme, host=host, port=port, allowed=allowed, path_query=path_query, url=url)


def may_be_internal(url: str, settings: WebhookSettings) -> bool:
    """Return whether a host may lead into the network: `allow` has it, or the URL cannot be used now."""
    try:
        return check_url(url, settings).allowed
    except ConfigError:
        return True


def is_allowed(host: str, port: int, settings: WebhookSettings) -> bool:
    """Return whether `allow` has the host, alone or with this port."""
    shown = bracketed(host)
    return not {host, shown, f"{shown}:{port}"}.isdisjoint(_allow(settings))


def _entry(host: str, port: int, settings: WebhookSettings) -> str:
    """Return what `allow` must have for a host at a port: the host is enough at a port of `ports`."""
    return bracketed(host) if port in settings.ports else f"{bracketed(host)}:{port}"


def bracketed(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def _allow(settings: WebhookSettings) -> set[str]:
    return {entry.lower() for entry in settings.allow}


def _check_characters(text: str) -> None:
    if not text:
        raise ConfigError(f"a webhook needs a URL, such as {EXAMPLE}")
    if len(text) > URL_MAX_CHARACTERS:
        raise ConfigError(f"the URL of a webhook has at most {URL_MAX_CHARACTERS} characters, not {len(text)}")
    if any(each.isspace() for each in text):
        raise ConfigError("the URL of a webhook must not contain a space or a line end; write a space as %20")
    # Cf: characters that are not seen, such as a zero-width space or a change of direction.
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co", "Cn") for each in text):
        raise ConfigError("the URL of a webhook must not contain characters that cannot be seen; type it again")
    if "\\" in text:
        raise ConfigError("the URL of a webhook must not contain a backslash; write / in the path, or %5C")
    if "#" in text:
        raise ConfigError("the URL of a webhook must not contain #, because what follows is never sent; remove it")


def _split_authority(authority: str) -> tuple[str, str | None]:
    """Return the text of the host, and that of the port if there is a colon."""
    if authority.startswith("["):
        parts = _BRACKETS.fullmatch(authority)
        if parts is None:
            raise ConfigError("an IPv6 address in the URL of a webhook is written in brackets: https://[2600::1]/in")
        return f"[{parts[1]}]", parts[2]
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise ConfigError("an IPv6 address in the URL of a webhook is written in brackets: https://[2600::1]/in")
    return host, port if colon else None


def _port(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text, re.ASCII) or int(text) > PORT_MAX:
        raise ConfigError(
            f"the port in the URL of a webhook is a number from 1 to {PORT_MAX}, or left out with its colon"
        )
    return int(text)


def _check_port(host: str, port: int, settings: WebhookSettings) -> None:
    if port in settings.ports or f"{bracketed(host)}:{port}" in _allow(settings):
        return
    # Where http is refused, its port is of no use.
    plain = SCHEME_PORTS["http"]
    has_http = settings.http or is_allowed(host, plain, settings)
    usable = [each for each in settings.ports if has_http or each != plain] or list(settings.ports)
    ports = ", ".join(str(each) for each in usable[:PORTS_SHOWN])
    if len(usable) > PORTS_SHOWN:
        ports += f" or another of the {len(usable)} in [webhooks] ports"
    raise ConfigError(
        f"a webhook goes to port {ports}, not {port}; the admin can add it to ports in [webhooks], or "
        f"{bracketed(host)}:{port} to allow"
    )


def _host(text: str) -> str:
    """Return the host in the form in which it is looked up."""
    if not text:
        raise ConfigError(f"the URL of a webhook lacks its host; write it as in {EXAMPLE}")
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if "%" in text:
        raise ConfigError("the host of a webhook's URL must not contain %; write the characters themselves")
    name = text.lower() if text.isascii() else ".".join(_ascii_label(label) for label in text.split("."))
    if name.endswith("."):
        raise ConfigError(f"the host of a webhook's URL must not end in a dot; write {quoted(name.rstrip('.'))}")
    if _ENDS_IN_A_NUMBER.fullmatch(name):
        return _ipv4(name)
    if len(name) > HOST_MAX_CHARACTERS:
        raise ConfigError(f"the host of a webhook's URL has at most {HOST_MAX_CHARACTERS} characters")
    for label in name.split("."):
        if not label or len(label) > LABEL_MAX_CHARACTERS or not _LABEL.fullmatch(label):
            raise ConfigError(
                f"{quoted(text)} is not the name of a host: between two dots are 1 to {LABEL_MAX_CHARACTERS} letters, "
                "digits and hyphens"
            )
    return name


def _ascii_label(label: str) -> str:
    """Return a part of an internationalized name as it is looked up (IDNA, RFC 3490).

    A part that only resembles another name, such as digits in circles, is refused, and so is one that the two versions
    of IDNA read differently.
    """
    if label.isascii():
        return label.lower()
    convert: Callable[[str], bytes] = ToASCII
    try:
        name = convert(label).decode("ascii").lower()
        same = str(ToUnicode(name)) == unicodedata.normalize("NFC", label).lower() and DOTS.isdisjoint(label)
    except UnicodeError:
        same = False
    if not same:
        raise ConfigError(
            f"the host {quoted(label)} of a webhook's URL can be read as another one; write it in ASCII, as in "
            "xn--bcher-kva"
        )
    return name


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ConfigError(
            f"{quoted(text)} is an unusual form of an IPv4 address; write four decimal numbers, as in 93.184.215.14"
        ) from None


def _ipv6(text: str) -> str:
    if "%" in text:
        raise ConfigError("an IPv6 address in the URL of a webhook must not have a zone; remove % and what follows it")
    try:
        ip = IPv6Address(text)
    except ValueError:
        raise ConfigError("what is in brackets in the URL of a webhook is not an IPv6 address; correct it") from None
    return ip.compressed


def _check_public(host: str) -> None:
    try:
        ip = IPv6Address(host) if ":" in host else IPv4Address(host)
    except ValueError:
        if "." not in host or host.endswith(tuple(f".{end}" for end in PRIVATE_ENDS)):
            raise ConfigError(
                f"the host {host} is a name inside a network; write the public name, or ask the admin to add it to "
                "allow in [webhooks]"
            ) from None
        return
    kind = refusal(ip)
    if kind is not None:
        raise ConfigError(
            f"{ip} is not a public address, it is {kind}; use a public one, or ask the admin to add it to allow in "
            "[webhooks]"
        )
