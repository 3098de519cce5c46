# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The events about a hook, and the one that tests it. Pure: what happened goes in, an event comes out.

They name the host of the URL only, because its path and query may hold secrets, and nothing that the receiver answered
but its status. A caller who wants to keep the host private as well passes the hook without its URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sourcepulse.events.event import Event, format_time
from sourcepulse.publisher import make_event
from sourcepulse_web.webhooks.hook import Hook

FAILING = "system.webhook.failing.v1"
REFUSED = "system.webhook.refused.v1"
PARKED = "system.webhook.parked.v1"
RESUMED = "system.webhook.resumed.v1"
DISABLED = "system.webhook.disabled.v1"
TEST = "system.webhook.test.v1"
#: Why, in a word. Others may come.
NETWORK, STATUS, ADDRESS, REFUSALS, GONE = "network", "status", "address", "refused", "gone"
DELIVERED, OWNER = "delivered", "owner"

_CAUSES = {
    NETWORK: "{host} has not answered",
    STATUS: "{host} has answered {status}",
    ADDRESS: "the address of {host} is one where no webhook may lead",
    REFUSALS: "{host} refuses events with {status}",
    GONE: "{host} answered 410, so it wants no more events",
    DELIVERED: "{host} accepts events again",
    OWNER: "it was resumed",
}
_MOMENT = slice(0, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How it is with a hook when something is reported of it; `since` is in seconds since 1970.

    >>> Circumstances(reason=STATUS, status=503, since=first_failure_at, waiting=12)
    """

    #: One of the words above, or another.
    reason: str
    #: Of the last answer; None if there was none.
    status: int | None = None
    #: The first failure since the last success; None while the hook works.
    since: float | None = None
    waiting: int = 0
    set_aside: int = 0


def source_of(host: str) -> str:
    """Return the source of all events about the hooks of a host; its numbers are those of its own outbox."""
    return f"system://{host}/webhooks"


def failing_event(hook: Hook, about: Circumstances, *, host: str, at: float) -> Event:
    """Return that a hook fails; one trouble, which `since` names, has one id."""
    cause = f"{_cause(hook, about)}{_since(about)}"
    tried = f"{_waiting(about)}{', and they are tried again' if about.waiting else ''}"
    message = f"{_name(hook)} fails: {cause}; {tried}{_aside(about)}"
    return _made(FAILING, hook, about, message, host=host, at=at, key=at if about.since is None else about.since)


def refused_event(
    hook: Hook, about: Circumstances, *, host: str, at: float, type_: str, refused: int, key: float
) -> Event:
    """Return that events were set aside, the last one of a type; one `key` has one id."""
    last = "" if refused == 1 else ", the last one"
    # Of one that was withdrawn meanwhile the type is not published.
    last = f"{last} of the type {type_}" if type_ else ""
    message = (
        f"{_name(hook)} set {_events(refused)} aside{last}: {_cause(hook, about)}; "
        f"{_are(about.set_aside)} set aside now, and the others go on"
    )
    more = {"type": type_, "refused": refused}
    return _made(REFUSED, hook, about, message, host=host, at=at, key=key, more=more)


def parked_event(hook: Hook, about: Circumstances, *, host: str, at: float) -> Event:
    """Return that a hook was parked at a time, of which there is one id."""
    cause = f"{_cause(hook, about)}{_since(about)}{_aside(about)}"
    message = f"{_name(hook)} is parked: {cause}; {_waiting(about)} until it is resumed"
    return _made(PARKED, hook, about, message, host=host, at=at, key=at)


def resumed_event(hook: Hook, about: Circumstances, *, host: str, at: float) -> Event:
    """Return that a hook works again, or was resumed, at a time, of which there is one id."""
    message = f"{_name(hook)} goes on: {_cause(hook, about)}; {_waiting(about)}"
    return _made(RESUMED, hook, about, message, host=host, at=at, key=at)


def disabled_event(hook: Hook, about: Circumstances, *, host: str, at: float) -> Event:
    """Return that a hook was switched off at a time, of which there is one id."""
    message = f"{_name(hook)} is off: {_cause(hook, about)}; {_waiting(about)} until it is resumed"
    return _made(DISABLED, hook, about, message, host=host, at=at, key=at)


def event_for_test(hook: Hook, *, host: str, number: int, at: float) -> Event:
    """Return the test of a number that a hook is sent; it is POSTed to this hook alone, and never stored."""
    data = {"message": f"a test of {_name(hook)}", "hook": hook.name, "owner": hook.owner}
    return _event(TEST, hook, data, host=host, at=at, key=[hook.name, str(number), format_time(at)])


def _made(
    type_: str,
    hook: Hook,
    about: Circumstances,
    message: str,
    *,
    host: str,
    at: float,
    key: float,
    more: dict[str, Any] | None = None,
) -> Event:
    data = {
        "message": message,
        "hook": hook.name,
        "owner": hook.owner,
        "host": host_of(hook.url),
        "reason": about.reason,
        "status": about.status,
        "since": None if about.since is None else format_time(about.since),
        "waiting": about.waiting,
        "set_aside": about.set_aside,
    }
    return _event(type_, hook, data | (more or {}), host=host, at=at, key=[hook.name, format_time(key)])


def _event(type_: str, hook: Hook, data: dict[str, Any], *, host: str, at: float, key: list[str]) -> Event:
    return make_event(
        type_,
        data,
        source=source_of(host),
        subject=f"webhook/{hook.name}",
        key=key,
        words=[hook.name],
        now=at,
        own={},
    )


def host_of(url: str) -> str:
    """Return the host of a URL, "" if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _name(hook: Hook) -> str:
    return f"the webhook {hook.name}" + (f" of {hook.owner}" if hook.owner else "")


def _cause(hook: Hook, about: Circumstances) -> str:
    host = host_of(hook.url) or "its receiver"
    if about.reason == STATUS and about.status is None:
        return _CAUSES[NETWORK].format(host=host)
    words = _CAUSES.get(about.reason, about.reason)
    return words.format(host=host, status="a 4xx status" if about.status is None else about.status)


def _since(about: Circumstances) -> str:
    if about.since is None:
        return ""
    return f" since {format_time(about.since)[_MOMENT].replace('T', ' ')} UTC"


def _waiting(about: Circumstances) -> str:
    return "nothing waits" if about.waiting == 0 else f"{_events(about.waiting)} wait{'s' * (about.waiting == 1)}"


def _aside(about: Circumstances) -> str:
    return f", and {_are(about.set_aside)} set aside" if about.set_aside else ""


def _are(number: int) -> str:
    return f"{number:,} {'is' if number == 1 else 'are'}"


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number:,} events"
