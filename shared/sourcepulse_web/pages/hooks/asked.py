# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a POST to a hook asks for: the form of a page, or the JSON of a program, and whether another site sent it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from sourcepulse.errors import ConfigError, quoted

if TYPE_CHECKING:
    from twisted.web.server import Request

FIELDS_MAX = 30
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_FOREIGN = "Another site sent this form, so nothing was done. Open /hooks, and use the form there."
_NOT_A_FORM = f"the body looks like JSON but was sent as a form; send the header Content-Type: {JSON}"
_TYPES = f"Send a form ({FORM}) or JSON ({JSON})."


class Asked(NamedTuple):
    """The fields of one POST, each as text or, of JSON, as it was written."""

    fields: Mapping[str, Any]
    is_json: bool

    def text(self, name: str) -> str:
        """Return a field without spaces around it, "" if it is missing; ConfigError if it is not a text."""
        value = self.fields.get(name)
        if value is None:
            return ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be a string")
        return _unicode(name, value).strip()

    def yes(self, name: str) -> bool:
        """Return whether a box is ticked, or a member true."""
        value = self.fields.get(name)
        if self.is_json and not isinstance(value, bool | None):
            raise ConfigError(f"{name} must be true or false")
        return bool(value)

    def lines(self, name: str) -> list[str]:
        """Return a list: of JSON its items, of a form the lines that are not empty."""
        value = self.fields.get(name) or []
        if isinstance(value, str):
            return [line.strip() for line in value.splitlines() if line.strip()]
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f'{name} must be a list of strings, such as ["hg.push.#"]')
        return [_unicode(name, each).strip() for each in value]


def _unicode(name: str, value: str) -> str:
    # JSON can write half of a character as \uD800, which no file can keep (RFC 8259, section 8.2).
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise ConfigError(f"{name} has half of a character, such as \\ud800 without what follows it")
    return value


def read(content_type: str, body: bytes) -> Asked:
    """Return what a body asks for; ConfigError if it is of another type, or not what its type says."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == JSON:
        return Asked(_object(body), is_json=True)
    if kind != FORM:
        raise ConfigError(_TYPES)
    if body.lstrip().startswith(b"{"):
        raise ConfigError(_NOT_A_FORM)
    try:
        found = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise ConfigError(f"the form must be UTF-8 and have at most {FIELDS_MAX} fields") from None
    return Asked({name: values[-1] for name, values in found.items()}, is_json=False)


def _object(body: bytes) -> dict[str, Any]:
    try:
        # An empty body asks for what needs no field.
        found = json.loads(body.decode("utf-8")) if body.strip() else {}
    except (ValueError, RecursionError):
        # The text of the error may repeat a part of the body.
        raise ConfigError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise ConfigError('the body must be a JSON object, such as {"name": "chat-room"}')
    return found


def check_known(asked: Asked, known: Collection[str]) -> None:
    """ConfigError if JSON has a member that would be passed over."""
    for name in asked.fields if asked.is_json else ():
        if name not in known:
            raise ConfigError(f"unknown member {quoted(name)}; known are {', '.join(known) or 'none'}")


def foreign(request: Request, hosts: Collection[str]) -> str | None:
    """Return a sentence if a page of another site sent the request; None if our own page or a program did.

    A browser names where a request comes from in `Sec-Fetch-Site` (W3C Fetch Metadata) and in `Origin` (RFC 6454); a
    page cannot change either. A site by plain HTTP gets the latter only. Any page can bring about an `Origin` of
    `null`: it counts only beside the other header. Neither is in what a program sends.
    """
    sites = request.requestHeaders.getRawHeaders(b"sec-fetch-site") or []
    origins = request.requestHeaders.getRawHeaders(b"origin") or []
    if len(sites) > 1 or len(origins) > 1:
        return _FOREIGN
    if sites and sites[0] not in (b"same-origin", b"none"):
        return _FOREIGN
    if not origins:
        return None
    origin = origins[0].decode("latin-1").strip().lower()
    if origin == "null":
        return None if sites == [b"same-origin"] else _FOREIGN
    scheme, _, host = origin.partition("://")
    # Behind a proxy with TLS the same name by plain HTTP is a site that anybody on the way can write.
    if scheme != "https" and (scheme != "http" or request.getHeader("x-forwarded-proto") == "https"):
        return _FOREIGN
    own = (request.getHeader(b"host") or b"").decode("latin-1").lower()
    # A proxy may leave the port out of the host that it passes on.
    return None if host and (host == own or {host, host.rpartition(":")[0]} & set(hosts)) else _FOREIGN


def is_by_own_page(request: Request) -> bool:
    """Return whether a browser names a page of ours as the sender of a request that is not `foreign`."""
    headers = request.requestHeaders
    return headers.getRawHeaders(b"sec-fetch-site") == [b"same-origin"] or headers.hasHeader(b"origin")
