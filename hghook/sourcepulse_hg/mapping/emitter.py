# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The names of a repository in its events: its source URI and the URL to pull from."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from sourcepulse.events.bounds import decode_text
from sourcepulse.events.event import RESTRICTED_SUFFIX
from sourcepulse_hg.facts.values import Emitter

if TYPE_CHECKING:
    from sourcepulse_hg.settings import Settings

#: The characters that a URI path may contain besides letters and digits (RFC 3986 section 3.3).
_PATH_SAFE = "/-._~!$&'()*+,;=:@"


def emitter_of(settings: Settings) -> Emitter:
    """Return the emitter that the settings of a repository describe."""
    return Emitter(
        name=settings.name,
        source=source_uri(settings.source, settings.name, restricted=settings.restricted),
        repo_url=settings.repo_url,
        detail=settings.detail,
        max_changesets=0 if settings.detail == "refs" else settings.max_changesets,
    )


def source_uri(configured: str, name: bytes, *, restricted: bool) -> str:
    """Return the source of a repository's events; the name is appended to a configured host."""
    host = configured.removeprefix("hg://")
    uri = configured if host.rstrip("/").count("/") else f"hg://{host.rstrip('/')}/{quote(name, safe=_PATH_SAFE)}"
    return uri + RESTRICTED_SUFFIX if restricted else uri


def repository_url(emitter: Emitter) -> str | None:
    """Return the URL to pull from, with the name of the repository filled in."""
    if emitter.repo_url is None:
        return None
    url = emitter.repo_url.replace("{repo}", quote(emitter.name, safe=_PATH_SAFE))
    return decode_text(url.encode("utf-8", "surrogateescape"))[0]
