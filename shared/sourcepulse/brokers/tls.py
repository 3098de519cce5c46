# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TLS to a broker: the verifying context that a URL asks for, and descriptions of TLS failures."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, BrokerUntrustedError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl


def context_of(url: BrokerUrl) -> ssl.SSLContext | None:
    """Return a context that verifies chain and host name, None for a URL without TLS.

    `?ca=` names the only trusted authorities; without it the system's are trusted. `?cert=` and `?key=` are our
    own certificate; one file may hold both. BrokerRefusedUsError if a file cannot be used: an admin must act.
    """
    if not url.tls:
        return None
    ca, cert, key = (url.option(name) for name in ("ca", "cert", "key"))
    if key and not cert:
        raise BrokerRefusedUsError(f"the broker URL {url} names a ?key= but no ?cert= that it belongs to")
    for name, path in (("ca", ca), ("cert", cert), ("key", key)):
        if path:
            _check_readable(name, path)
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise BrokerRefusedUsError(f"the file {ca} of ?ca= holds no certificate: {_reason(error)}") from None
    if cert:
        try:
            # Without this callback, OpenSSL would ask for a password at the terminal.
            context.load_cert_chain(cert, key or None, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise BrokerRefusedUsError(
                f"the files {cert} of ?cert= and {key or cert} of ?key= are not a certificate with its key, "
                f"unencrypted, in PEM: {_reason(error)}"
            ) from None
    return context


def describe_tls(error: ssl.SSLError, host: str) -> BrokerUnavailableError:
    """Return an error that describes a TLS failure and what to check."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerUntrustedError(
            f"the certificate of {host} cannot be trusted: {error.verify_message}; "
            "check the host name in the URL, and name the CA's file with ?ca="
        )
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return BrokerRefusedUsError(f"{host} requires a client certificate; name it with ?cert= and ?key= ({reason})")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return BrokerRefusedUsError(f"{host} does not trust our certificate: {reason}; check ?cert= and ?key=")
    if isinstance(error, ssl.SSLEOFError):
        return BrokerUnavailableError(
            f"{host} ended TLS without a reason; is that its TLS port, does it require a client certificate "
            "(?cert= and ?key=), and does it trust ours?"
        )
    return BrokerUnavailableError(f"{host} fails at TLS: {reason}; is that its TLS port?")


def _check_readable(name: str, path: str) -> None:
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        raise BrokerRefusedUsError(f"the file {path} of ?{name}= cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
