# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the query and the headers of a request ask for; every ConfigError is the sentence that the client gets."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sourcepulse.errors import ConfigError, quoted
from sourcepulse_web.stream.begin import Since, parse_since
from sourcepulse_web.stream.clients.client import Subscription
from sourcepulse_web.stream.filter import PARAMETERS, filter_of
from sourcepulse_web.stream.frames import EVENT_STREAM, LINES, Framing

if TYPE_CHECKING:
    from twisted.web.server import Request

#: The most names of one channel, and bytes of a name.
NAMES_MAX, NAME_MAX_BYTES = 50, 1024
#: What asks for lines of JSON, in the header `Accept` or as `format=`.
NDJSON_TYPE = "application/x-ndjson"
FORMATS: Mapping[str, Framing] = {"sse": EVENT_STREAM, "ndjson": LINES}
#: The header wins over the parameter, which is there for programs that cannot set a header.
LAST_ID_HEADER, LAST_ID_PARAMETER = b"last-event-id", "last-event-id"
#: For how many bytes of an id a place is looked for.
LAST_ID_MAX_BYTES = 256

Arguments = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A stream that was asked for, and where it is to begin."""

    subscription: Subscription
    last_id: str
    since: Since | None


def stream_asked(request: Request, views: Iterable[str], channels: Iterable[str], now: float) -> Asked:
    """Return what a request for a stream asks for."""
    arguments = arguments_of(request)
    channels = tuple(channels)
    check_known(arguments, (*PARAMETERS, "since", "view", *channels, "format", LAST_ID_PARAMETER))
    view = single(arguments, "view")
    if view is not None:
        _check_one_of("view", view, views)
    since = single(arguments, "since")
    header = request.requestHeaders.getRawHeaders(LAST_ID_HEADER)
    last_id = header[-1].decode("utf-8", "replace") if header else single(arguments, LAST_ID_PARAMETER) or ""
    followed = tuple((channel, name) for channel in channels for name in _names(arguments, channel))
    wants_events = not followed or view is not None or any(arguments.get(name) for name in PARAMETERS)
    return Asked(
        Subscription(
            filter=filter_of(arguments) if wants_events else None,
            framing=_framing(request, arguments),
            view=view,
            channels=followed,
        ),
        last_id[:LAST_ID_MAX_BYTES],
        None if since is None else parse_since(since, now),
    )


def arguments_of(request: Request) -> Arguments:
    """Return the parameters as text."""
    try:
        return {
            name.decode("utf-8"): [value.decode("utf-8") for value in values] for name, values in request.args.items()
        }
    except UnicodeDecodeError:
        raise ConfigError("the query is not UTF-8") from None


def check_known(arguments: Arguments, known: Sequence[str]) -> None:
    """Raise ConfigError for a parameter that is not one of these."""
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}=?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"there is no parameter {quoted(name)}; {hint}")


def single(arguments: Arguments, name: str) -> str | None:
    """Return the value of a parameter that may occur once."""
    values = arguments.get(name, ())
    if len(values) > 1:
        raise ConfigError(f"{name}= occurs {len(values)} times; it may occur once")
    return values[0] if values else None


def _framing(request: Request, arguments: Arguments) -> Framing:
    asked = single(arguments, "format")
    if asked is None:
        accepted = ",".join(each.decode("latin-1") for each in request.requestHeaders.getRawHeaders(b"accept") or ())
        return LINES if NDJSON_TYPE in accepted.lower() else EVENT_STREAM
    _check_one_of("format", asked, FORMATS)
    return FORMATS[asked]


def _check_one_of(name: str, value: str, known: Iterable[str]) -> None:
    known = tuple(known)
    if value not in known:
        raise ConfigError(f"{name}={quoted(value)} does not exist; there is {', '.join(known) or 'none'}")


def _names(arguments: Arguments, channel: str) -> Sequence[str]:
    names = list(dict.fromkeys(arguments.get(channel, ())))
    if len(names) > NAMES_MAX:
        raise ConfigError(f"{channel}= occurs {len(names)} times; at most {NAMES_MAX} are allowed")
    for name in names:
        if not name or len(name.encode("utf-8")) > NAME_MAX_BYTES:
            raise ConfigError(f"{channel}= must have a name of 1 to {NAME_MAX_BYTES} bytes")
    return names
