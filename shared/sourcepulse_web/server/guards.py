# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a request must look like before any page sees it; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sourcepulse_web.settings import HOST

METHODS = (b"GET", b"HEAD", b"OPTIONS")
#: The pages that change something: forms of people, and JSON of programs.
FORMS = b"/hooks"
#: A form of a hook with fifty topics has 13 KiB at most.
BODY_MAX_BYTES = 16 << 10
URI_MAX_BYTES = 8192
#: More than any length has, and few enough to read as a number.
LENGTH_DIGITS_MAX = 19
#: Of a page, a stream and its filters; a filter has limits of its own.
PARAMETERS_MAX = 1_000

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_WILDCARDS = ("0.0.0.0", "::", "[::]", "")  # noqa: S104 - compared, never listened at


class Refusal(NamedTuple):
    """A request that no page sees: the status, a word for the metrics, and the sentence for who asked."""

    code: int
    kind: str
    text: str


class Place(NamedTuple):
    """Where a connection came in."""

    host: str
    port: int


def known_hosts(listen: str, hosts: Collection[str], place: Place) -> frozenset[str]:
    """Return the values of `Host` that are answered: a page of another site must not read ours by its own name.

    Those are the address of the connection, or of `listen`, with the port; the forms of localhost where that is one;
    and `hosts`, which stand for any port where they have none.
    """
    name = listen.rpartition(":")[0].lower()
    own = {name, place.host.lower(), f"[{place.host.lower()}]"} - set(_WILDCARDS)
    if is_loopback(place.host):
        own.update(_LOCAL_HOSTS)
    return frozenset({f"{each}:{place.port}" for each in own} | set(hosts))


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine only."""
    return host in ("localhost", "::1", "[::1]") or host.startswith("127.")


def methods_of(uri: bytes, *, forms: bool) -> tuple[bytes, ...]:
    """Return the methods of an address; `forms` is whether this gateway has webhooks, which people change by forms."""
    path = uri.partition(b"?")[0]
    return (*METHODS, b"POST") if forms and (path == FORMS or path.startswith(FORMS + b"/")) else METHODS


def check_framing(line: bytes) -> Refusal | None:
    """Return why a request is not read because of one header that says where its body ends, None if it may go on.

    A body whose end two programs see in different places is a second request to one of them, so a coding beside
    `chunked` is refused (RFC 9112, section 6.1), and also `identity`, which a library might pass over.
    """
    name, _, value = line.partition(b":")
    name, value = name.strip().lower(), value.strip()
    if name == b"content-length" and len(value) > LENGTH_DIGITS_MAX:
        return Refusal(400, "malformed", f"The Content-Length has more than {LENGTH_DIGITS_MAX} digits.")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        return Refusal(501, "malformed", "Send a body without a Transfer-Encoding, and with a Content-Length.")
    return None


def check_body(methods: Collection[bytes], method: bytes, length: int | None) -> Refusal | None:
    """Return why a request with a body of so many bytes, None if it does not say how many, is not read."""
    if length == 0:
        return None
    if b"POST" not in methods:
        return Refusal(413, "size", "A request to this gateway has no body.")
    if method != b"POST":
        return Refusal(413, "size", "Only a POST to this address has a body.")
    if length is None:
        return Refusal(411, "size", "A request with a body must have a Content-Length.")
    if length > BODY_MAX_BYTES:
        return Refusal(413, "size", f"The body has more than {BODY_MAX_BYTES} bytes.")
    return None


def check(
    method: bytes, uri: bytes, hosts: Sequence[bytes], known: Collection[str], methods: Collection[bytes] = METHODS
) -> Refusal | None:
    """Return why a request is refused, None if a page may see it."""
    if method not in methods:
        return Refusal(
            405, "method", f"This {'page' if b'POST' in methods else 'gateway'} answers {listed(methods)} only."
        )
    if len(uri) > URI_MAX_BYTES:
        return Refusal(414, "size", f"The address has more than {URI_MAX_BYTES} bytes.")
    if not uri.startswith(b"/"):
        return Refusal(400, "malformed", "The address must begin with a slash.")
    if uri.count(b"&") >= PARAMETERS_MAX:
        return Refusal(400, "size", f"The address has more than {PARAMETERS_MAX} parameters.")
    if len(hosts) != 1:
        return Refusal(400, "host", "A request must have exactly one Host header.")
    host = _host_of(hosts[0])
    if host is None:
        return Refusal(400, "host", "The Host header must be a name or an address, and perhaps a port.")
    name, with_port = host
    # The port is left out where it is the usual one of the scheme.
    if not {name, with_port} & set(known):
        return Refusal(
            421, "host", "This gateway does not answer for this host; its `hosts` in [web] list which it does."
        )
    return None


def listed(methods: Collection[bytes]) -> str:
    """Return the methods as words, without the one that only browsers ask with."""
    *names, last = (each.decode("ascii") for each in methods if each != b"OPTIONS")
    return f"{', '.join(names)} and {last}"


def _host_of(header: bytes) -> tuple[str, str] | None:
    match = HOST.fullmatch(header.decode("latin-1").strip().lower())
    if match is None:
        return None
    name, port = match[1].rstrip("."), match[2]
    return name, f"{name}:{port}" if port else f"{name}:80"
