# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A document of the catalogue: kept by a cache, which asks whether it changed, and read by pages of allowed origins."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from twisted.web.http import CACHED

from sourcepulse.errors import EventError
from sourcepulse_web.server.cors import allow_origin

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services


def document(request: Request, services: Services, content_type: str, text: str) -> bytes:
    """Return a document as the body of an answer; empty if the one who asks has this one."""
    body = text.encode() + b"\n"
    request.setHeader(b"content-type", content_type.encode())
    request.setHeader(b"cache-control", b"no-cache")
    allow_origin(request, services.settings().origins)
    etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:16].encode()
    return b"" if request.setETag(etag) is CACHED else body


def unknown_type(error: EventError, list_of_all: str) -> str:
    """Return the sentences about a type that is unknown: the nearest names, and where all are."""
    text = str(error)
    hint = text.partition("; ")[2]
    unknown = text if hint.startswith("did you mean") else f"{text.partition('; ')[0]}."
    return f"{unknown[0].upper()}{unknown[1:]} {list_of_all[0].upper()}{list_of_all[1:]}"
