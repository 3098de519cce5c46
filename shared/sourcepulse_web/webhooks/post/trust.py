# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What receivers are trusted by: the authorities of the system, and one of the site; loaded again after a change."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path

from sourcepulse.events.safe_text import short
from sourcepulse_web.webhooks.errors import NoAnswerError, Problem

#: The authorities of the system are loaded this often, because that takes some 20 ms.
RELOAD_SECONDS = 300.0


class Trust:
    """The context for TLS with receivers, which any thread may ask for.

    >>> Trust(settings.ca_file).context().verify_mode
    <VerifyMode.CERT_REQUIRED: 2>
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._loaded_at = 0.0
        self._loaded_file: tuple[int, int] | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context; NoAnswerError if the site's file cannot be read."""
        with self._lock:
            try:
                file = self._look_at_file()
                late = time.monotonic() - self._loaded_at > RELOAD_SECONDS
                if self._context is None or late or file != self._loaded_file:
                    self._context = _load(self._ca_file)
                    self._loaded_at, self._loaded_file = time.monotonic(), file
            except OSError as error:
                # Errors of ssl are of this class: the file is not one of certificates.
                reason = "it has no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror)
                raise NoAnswerError(
                    f"the file of ca_file in [webhooks] cannot be used: {short(reason)}; the admin can correct it",
                    Problem.CERTIFICATE,
                ) from None
            return self._context

    def _look_at_file(self) -> tuple[int, int] | None:
        if self._ca_file is None:
            return None
        found = self._ca_file.stat()
        return found.st_mtime_ns, found.st_size


def _load(ca_file: Path | None) -> ssl.SSLContext:
    # ssl.create_default_context would write the keys of TLS where SSLKEYLOGFILE points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(str(ca_file))
    return context
