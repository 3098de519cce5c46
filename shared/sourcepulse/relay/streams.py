# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The destinations of the streams, and the rules that keep restricted events out of everything the public can read."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError

_ACTIVEMQ = "+activemq"
#: The login at RabbitMQ for a URL without a user.
_GUEST = ("guest", "guest")
_OTHERS_ENTER, _OTHERS_READ = 0o001, 0o004


@dataclass(frozen=True, slots=True)
class Place:
    """A broker and an exchange there; the outbox records `str()` of it."""

    url: BrokerUrl
    exchange: str

    def __str__(self) -> str:
        return f"{self.url} {self.exchange}"


def file_names(path: str) -> frozenset[object]:
    """Return what identifies a file: its real path, and if it exists its device and inode."""
    real = os.path.realpath(path)
    try:
        status = Path(real).stat()
    except OSError:
        return frozenset({real})
    return frozenset({real, (status.st_dev, status.st_ino)})


def check_apart(public: Place, restricted: Place, *, files: Callable[[str], frozenset[object]] = file_names) -> None:
    """Raise ConfigError, which says what to change, if readers of the public stream could get the restricted one.

    One broker has many addresses (AMQP and STOMP, names and numbers, members of a cluster), so different URLs do not
    prove different brokers: exchange names and logins must always differ. `files` returns what identifies a file; two
    files with anything in common are the same.
    """
    _check_login(restricted.url)
    _check_exchanges(public, restricted)
    _check_files(public, restricted, files)
    if "file" not in (public.url.scheme, restricted.url.scheme) and _is_one_user(public.url, restricted.url):
        raise ConfigError(
            "broker and restricted_broker log in as the same user; create a separate user for restricted events, "
            "the only one that may write to the restricted exchange, and use it in restricted_broker"
        )


def check_former(former: str, restricted: Place, *, files: Callable[[str], frozenset[object]] = file_names) -> None:
    """Refuse to send restricted events where public ones ever went; `former` is one place as the outbox recorded it.

    Subscribers of the public events are still bound there, even though the settings have changed.
    """
    url, _, exchange = former.rpartition(" ")
    try:
        public = Place(BrokerUrl.parse(url), exchange)
    except ConfigError:
        # A later version may have recorded a scheme unknown to this one; the exchange name can still be compared.
        public = Place(BrokerUrl(scheme=""), exchange)
    _check_exchanges(public, restricted, "where public ones went before: ")
    _check_files(public, restricted, files)


def doubts(public: Place, restricted: Place) -> tuple[str, ...]:
    """Return warnings about settings that are allowed but unsafe for restricted events."""
    url = restricted.url
    if url.scheme == "file":
        return _file_doubts(url.path)
    said = []
    if not url.tls and not all(_is_loopback(host) for host, _ in url.hosts):
        said.append(f"restricted events go to {url} without TLS; everyone on the network path can read them")
    both_activemq = url.scheme.endswith(_ACTIVEMQ) and public.url.scheme.endswith(_ACTIVEMQ)
    if both_activemq and {host for host, _ in url.hosts} & {host for host, _ in public.url.hosts}:
        said.append(
            "restricted events share an ActiveMQ with public ones: in its default configuration, a reader of public "
            "events can create a queue that copies restricted ones; configure it as in shared/deploy/activemq.xml, or "
            "use a separate broker"
        )
    return tuple(said)


def _check_login(url: BrokerUrl) -> None:
    if url.scheme == "file" or (url.user and url.password):
        return
    if url.scheme == "stomps+activemq" and not url.user and url.option("cert"):
        # ActiveMQ can take the user from the certificate.
        return
    raise ConfigError(
        "restricted_broker has no user with a password; without a login of its own, restricted events would depend "
        "on what the broker allows every user"
    )


def _check_exchanges(public: Place, restricted: Place, where: str = "to the public exchange: ") -> None:
    ours, theirs = restricted.exchange.lower(), public.exchange.lower()
    refused = f"restricted events would go {where}"
    if ours == theirs:
        raise ConfigError(
            f"{refused}both are named {public.exchange!r}; set another restricted_exchange, even if the "
            "brokers are different"
        )
    if ours == DEFAULT_EXCHANGE:
        raise ConfigError(
            f"{refused}{DEFAULT_EXCHANGE!r} is the default exchange of every consumer; set another restricted_exchange"
        )
    if ours.startswith(f"{theirs}.") or theirs.startswith(f"{ours}."):
        raise ConfigError(
            f"{refused}on ActiveMQ a wide pattern for the exchange {min(ours, theirs, key=len)!r} also "
            f"matches {max(ours, theirs, key=len)!r}; use names of which neither continues the other after a dot"
        )


def _check_files(public: Place, restricted: Place, files: Callable[[str], frozenset[object]]) -> None:
    if public.url.scheme == restricted.url.scheme == "file" and files(public.url.path) & files(restricted.url.path):
        raise ConfigError(
            f"restricted events would go to the public log {public.url.path}: every user who can open that file "
            "can read all of it; set another file in restricted_broker, in a folder that only its readers can enter"
        )


def _is_one_user(one: BrokerUrl, other: BrokerUrl) -> bool:
    """Return whether both log in as one user: with the same secret, or with the same name at a common host."""
    hosts_in_common = {host for host, _ in one.hosts} & {host for host, _ in other.hosts}
    return _login(one) == _login(other) or bool(one.user and one.user == other.user and hosts_in_common)


def _login(url: BrokerUrl) -> tuple[str, str]:
    if url.user:
        return url.user, url.password
    if url.scheme.endswith(_ACTIVEMQ):
        return "", url.option("cert") or ""
    return _GUEST


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _file_doubts(path: str) -> tuple[str, ...]:
    try:
        folder = Path(path).parent.stat().st_mode
    except OSError:
        return ()
    try:
        log = Path(path).stat().st_mode
    except OSError:
        # A log that does not exist yet gets the mode of its folder.
        log = folder
    if folder & _OTHERS_ENTER and log & _OTHERS_READ:
        return (f"every user of this machine can read {path}, where restricted events go; chmod o-rwx its folder",)
    return ()
