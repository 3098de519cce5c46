# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The way to the broker, step by step: its name, its port, its certificate."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits, NameLookupTimeoutError, resolve
from sourcepulse.brokers.tls import context_of, describe_tls
from sourcepulse.brokers.url import BrokerUrl, host_text
from sourcepulse.errors import BrokerRefusedUsError
from sourcepulse.operations.doctor.finding import Finding, Job, State, broken, warning
from sourcepulse.operations.doctor.runner import run_jobs
from sourcepulse.operations.doctor.situation import Situation

#: For the name, the connection and the handshake with one host.
CONNECT_LIMIT_SECONDS = 4.0
#: How many files are tried for the authority.
AUTHORITIES_MAX = 8
#: For all names of a certificate.
RESOLVE_LIMIT_SECONDS = 2.0
CERTIFICATE_LOW_DAYS = 14
_DAY_SECONDS = 86_400.0

#: What may be written into a URL and a sed script as it is.
_HOST_NAME = re.compile(r"[A-Za-z0-9._:-]+")
_CA = re.compile(r"""(?<=[?&])ca=([^&\s"']*)""")
#: OpenSSL's codes of verification errors (x509_vfy.h).
_EXPIRED = frozenset({10})
_OTHER_NAME = frozenset({62, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 24})


class Way(NamedTuple):
    """What is wrong on the way to the hosts of a URL, and those that can be reached all the same."""

    findings: list[Finding]
    reached: list[tuple[str, int]]


def reach(situation: Situation, url: BrokerUrl, prefix: str) -> Way:
    """Try the way to each host of a URL."""
    try:
        tls = context_of(url)
    except BrokerRefusedUsError as error:
        host, port = url.hosts[0]
        place = situation.url_place(prefix)
        return Way([broken("SP207", url, str(error), where=place, address=host_text(host, port))], [])
    reached: set[tuple[str, int]] = set()

    def look(host: str, port: int) -> Iterator[Finding]:
        found = list(_host(situation, url, prefix, host, port, tls))
        if not any(finding.state is State.BROKEN for finding in found):
            reached.add((host, port))
        yield from found

    hosts = [Job(id="SP203", about=str(url), run=partial(look, host, port)) for host, port in url.hosts]
    # Beside each other, because each may need its whole time.
    found = run_jobs(hosts, limit_s=3 * CONNECT_LIMIT_SECONDS)
    return Way(found, [each for each in url.hosts if each in reached])


def _host(
    situation: Situation, url: BrokerUrl, prefix: str, host: str, port: int, tls: ssl.SSLContext | None
) -> Iterator[Finding]:
    address = host_text(host, port)
    values: dict[str, object] = {
        "host": host,
        "port": port,
        "address": address,
        "where": situation.url_place(prefix),
        "service": "activemq" if url.scheme.endswith("+activemq") else "rabbitmq-server",
    }
    sock = BoundedSocket(Limits(time.monotonic() + CONNECT_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS))
    step = "SP203"
    try:
        sock.connect(host, port)
        step = "SP209"
        sock.start(tls, host)
        if tls is not None:
            yield from _expires_soon(situation, url, sock.sock.getpeercert())
    except ssl.SSLCertVerificationError as error:
        yield _certificate(situation, url, prefix, error, values)
    except ssl.SSLError as error:
        yield broken("SP207", url, str(describe_tls(error, address)), **values)
    except (socket.gaierror, NameLookupTimeoutError) as error:
        yield broken("SP201", url, f"the host {host} cannot be resolved: {error.strerror or error}", **values)
    except ConnectionRefusedError:
        yield broken("SP202", url, f"{address} refuses the connection: nothing listens there", **values)
    except TimeoutError:
        what = "accepts no connection" if step == "SP203" else "accepts the connection, but nothing answers to TLS"
        yield broken(step, url, f"{address} {what} within {CONNECT_LIMIT_SECONDS:g} s", **values)
    except OSError as error:
        yield broken("SP210", url, f"{address} cannot be reached: {error.strerror or error}", **values)
    finally:
        sock.close()


def _certificate(
    situation: Situation,
    url: BrokerUrl,
    prefix: str,
    error: ssl.SSLCertVerificationError,
    values: Mapping[str, object],
) -> Finding:
    found = f"the certificate of {values['address']} cannot be trusted: {error.verify_message}"
    if error.verify_code in _EXPIRED:
        return broken("SP204", url, found, **values)
    if error.verify_code in _OTHER_NAME:
        host = str(values["host"])
        names = _names_in_certificate(url, host, int(str(values["port"])))
        if names:
            name, file = _name_to_use(names), situation.url_file(prefix)
            # The host stands between an @ or the slashes, and the port or the path.
            script = rf"s#([@/,])\[?{re.escape(host)}\]?([]:/,?\"']|$)#\1{name}\2#I"
            found += f"; it is for {', '.join(names)}"
            return broken("SP206", url, found, script=script if name else None, file=file, **values)
        return broken("SP207", url, found, **values)
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return _unknown_authority(situation, url, prefix, found, values)
    return broken("SP207", url, found, **values)


def _unknown_authority(
    situation: Situation, url: BrokerUrl, prefix: str, found: str, values: Mapping[str, object]
) -> Finding:
    """Look for the right file of authorities where an admin would have put it: beside the wrong one and the URL."""
    ca, file = url.option("ca"), situation.url_file(prefix)
    found += f" (trusted: {ca or 'the authorities of the system'})"
    right = None if file is None else _right_authority(url, str(values["host"]), int(str(values["port"])), ca, file)
    if file is None or right is None:
        return broken("SP205", url, found, **values)
    old, new = _written(file, ca or ""), f"ca={quote(str(right), safe='/')}"
    # With options or without, alone in its file or within quotes.
    plain = r"""(s://[^"'?[:space:]]+)"""
    script = f"s#{re.escape(old)}#{new}#" if ca else rf"s#{plain}\?#\1?{new}\&#; t; s#{plain}#\1?{new}#"
    return broken("SP211", url, f"{found}; {right} has the right one", script=script, file=file, **values)


def _written(file: Path, ca: str) -> str:
    """Return the option ca as the file has it; any of its characters may be written as %HH."""
    text = file.read_text(encoding="utf-8", errors="replace")
    return next((match[0] for match in _CA.finditer(text) if unquote(match[1]) == ca), f"ca={quote(ca, safe='/')}")


def _right_authority(url: BrokerUrl, host: str, port: int, ca: str | None, file: Path) -> Path | None:
    folders = dict.fromkeys([*([Path(ca).parent] if ca else []), file.parent])
    names = [name for folder in folders for kind in ("*.pem", "*.crt") for name in sorted(folder.glob(kind))]
    for name in names[:AUTHORITIES_MAX]:
        if str(name) == ca:
            continue
        options = {**dict(url.options), "ca": str(name)}
        try:
            context = context_of(replace(url, options=tuple(options.items())))
            if context is not None and _certificate_of(context, host, port) is not None:
                return name
        except BrokerRefusedUsError:
            # It is another kind of file, such as a key.
            continue
    return None


def _name_to_use(names: Sequence[str]) -> str | None:
    """Return the name to be written into the URL: one that resolves here; None if there is none."""
    until = time.monotonic() + RESOLVE_LIMIT_SECONDS
    for name in names:
        # Also no wildcard.
        if _HOST_NAME.fullmatch(name):
            try:
                resolve(name, 0, until)
            except (OSError, UnicodeError):
                continue
            return f"[{name}]" if ":" in name else name
    return None


def _names_in_certificate(url: BrokerUrl, host: str, port: int) -> list[str]:
    """Return the names in a certificate that is genuine but for another host."""
    context = context_of(replace(url, hosts=((host, port),)))
    if context is None:
        return []
    certificate = _certificate_of(context, host, port) or {}
    return [str(name) for kind, name in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]


def _certificate_of(context: ssl.SSLContext, host: str, port: int) -> Mapping[str, Any] | None:
    """Return the certificate of a host if the authorities of the context issued it, whatever its name."""
    context.check_hostname = False
    sock = BoundedSocket(Limits(time.monotonic() + CONNECT_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS))
    try:
        sock.connect(host, port)
        sock.start(context, host)
        found: Mapping[str, Any] = sock.sock.getpeercert() or {}
    except OSError:
        return None
    finally:
        sock.close()
    return found


def _expires_soon(situation: Situation, url: BrokerUrl, certificate: Mapping[str, Any] | None) -> Iterator[Finding]:
    until = (certificate or {}).get("notAfter")
    if until is not None:
        left = (ssl.cert_time_to_seconds(str(until)) - situation.now()) / _DAY_SECONDS
        if left < CERTIFICATE_LOW_DAYS:
            yield warning("SP208", url, f"the certificate is valid until {until}")
