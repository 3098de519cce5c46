# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a user does with one hook: each is a form on its page, and a POST of JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sourcepulse.errors import ConfigError, NothingThereError, quoted
from sourcepulse_web.pages.hooks.answers import RefusedError
from sourcepulse_web.pages.hooks.asked import Asked, check_known
from sourcepulse_web.pages.hooks.words import RESUME
from sourcepulse_web.pages.trees.texts import many
from sourcepulse_web.stream.begin import parse_since
from sourcepulse_web.webhooks.desk.card import Card, Look
from sourcepulse_web.webhooks.errors import UnknownHookError
from sourcepulse_web.webhooks.hook import State, check_handshake

if TYPE_CHECKING:
    from sourcepulse_web.pages.hooks.room import Room


#: What is said when it was done; of `edit` and `redeliver` that depends on the hook.
SAID = {
    "test": "A test is on its way. What the receiver answers is shown below, under Attempts.",
    "pause": "Paused: nothing is sent, and events wait.",
    "resume": "Resumed: what waits is sent now.",
    "drop": "Dropped: the event is not sent.",
    "remove": "Removed: nothing is sent to it any more.",
}
_NUMBER_MAX_DIGITS = 9
#: Of a number in the store, which has 64 bits.
_LETTER_MAX_DIGITS = 18
NOT_SET_ASIDE = "This event is not set aside any more."
_NOT_TRIED = "This hook has no such event: attempts are kept for a week. Events since a time can be sent again."


class Done(NamedTuple):
    """What was done: a sentence, what a program gets beside it, and a secret if one was made."""

    said: str
    more: Mapping[str, Any] = MappingProxyType({})
    secret: str = ""

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Done({self.said!r})"


class Action(NamedTuple):
    """One action; `fields` are the members that its JSON may have."""

    do: Callable[[Room, str, str, Asked], Done]
    fields: tuple[str, ...] = ()
    #: The words on the button that does it, on a page of its own.
    yes: str = ""
    no: str = "Back"
    #: Asked once, in words, before it is done; "" if it can be undone.
    question: str = ""


def perform(room: Room, action: str, name: str, owner: str, asked: Asked) -> Done:
    """Do it; ConfigError if what was asked for is wrong, UnknownHookError if the user has no such hook."""
    check_known(asked, ACTIONS[action].fields)
    return ACTIONS[action].do(room, name, owner, asked)


def _test(room: Room, name: str, owner: str, asked: Asked) -> Done:
    del asked
    return Done(SAID["test"], {"test": room.desk.test(name, owner=owner)})


def _pause(room: Room, name: str, owner: str, asked: Asked) -> Done:
    del asked
    room.desk.pause(name, owner=owner)
    return Done(SAID["pause"])


def _resume(room: Room, name: str, owner: str, asked: Asked) -> Done:
    del asked
    room.desk.resume(name, owner=owner)
    return Done(SAID["resume"])


def _redeliver(room: Room, name: str, owner: str, asked: Asked) -> Done:
    wanted = _wanted(asked, room.now)
    try:
        found = room.desk.redeliver(name, owner=owner, **wanted)
    except UnknownHookError:
        raise
    except NothingThereError:
        raise RefusedError(404, _NOT_TRIED) from None
    card = room.desk.show(name, owner=owner, attempts=1)
    said = _said_redelivery(card, found.events, found.withdrawn + found.gone, found.waiting)
    counts = {"count": found.events, "withdrawn": found.withdrawn, "gone": found.gone, "waiting": found.waiting}
    return Done(said, counts)


def _said_redelivery(card: Card, count: int, left: int, waiting: int) -> str:
    said, events, them = [], many(count, "event"), "it" if count == 1 else "them"
    if count and card.standing.state is not State.ON:
        said.append(f"{events} {'waits' if count == 1 else 'wait'} to be sent again; {_resume_of(card)} sends {them}.")
    elif count:
        said.append(f"{events} {'is' if count == 1 else 'are'} sent again.")
    if count and card.look is Look.FAILING:
        they = "it" if count == 1 else "they"
        button = RESUME[Look.FAILING]
        said.append(f"While the hook fails, {they} may wait for its next attempt; {button} sends {them} at once.")
    if left:
        said.append(f"{many(left, 'event')} {'is' if left == 1 else 'are'} not public any more, or not in the log.")
    if waiting:
        now = f", or at once with {RESUME[card.look]}" if card.look in RESUME else ""
        now = ", once an admin resumes the hook" if card.standing.is_paused_by_admin else now
        said.append(f"Nothing is sent twice: this event waits already. It is sent in its turn{now}.")
    if not count + left + waiting:
        said.append("Nothing is sent again, because nothing in the log is what was asked for.")
    return " ".join(said)


def _said_edit(card: Card) -> str:
    sent = "what waits is sent" if card.standing.state is State.ON else f"{_resume_of(card)} sends what waits"
    return f"Changed: {sent} to this address, and from now on these events come."


def _resume_of(card: Card) -> str:
    """Return what sends the events of a hook that is not on."""
    return "an admin's resume" if card.standing.is_paused_by_admin else "Resume"


def _wanted(asked: Asked, now: float) -> dict[str, Any]:
    given = [name for name in ("id", "failed", "since") if asked.fields.get(name)]
    if len(given) != 1:
        raise ConfigError("name exactly one of id, failed and since")
    if given == ["failed"]:
        return {"failed": asked.yes("failed")}
    text = asked.text(given[0])
    return {"since": _time(text, now)} if given == ["since"] else {"id": text}


def said_of(args: Mapping[bytes, list[bytes]], card: Card | None) -> str:
    """Return what was done before a page was loaded, of its address and the hook on it: never a text from there."""
    did = args.get(b"did", [b""])[-1].decode("ascii", "replace")
    if card is None or did not in ("edit", "redeliver"):
        return SAID.get(did, "")
    if did == "edit":
        return _said_edit(card)
    count, left, waiting = (_number(args.get(name, [b""])[-1]) for name in (b"count", b"left", b"waiting"))
    return _said_redelivery(card, count, left, waiting)


def has_done(args: Mapping[bytes, list[bytes]]) -> bool:
    """Return whether something was done: a redelivery of no event has not."""
    did = args.get(b"did", [b""])[-1]
    return did != b"redeliver" or _number(args.get(b"count", [b""])[-1]) > 0


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS else 0


def did(action: str, done: Done) -> str:
    """Return the query of a page from which `said_of` returns what was done."""
    left = done.more.get("withdrawn", 0) + done.more.get("gone", 0)
    counts = f"&count={done.more['count']}&left={left}&waiting={done.more['waiting']}" if action == "redeliver" else ""
    return f"did={action}{counts}"


def _time(text: str, now: float) -> float:
    try:
        since = parse_since(text, now).time
    except ConfigError:
        since = None
    if since is None:
        raise ConfigError(
            f"since={quoted(text)} is not a time before now (30m, 24h, 2d), and not a time with its zone "
            "(2026-11-29T12:00:00Z)"
        )
    return since


def _drop(room: Room, name: str, owner: str, asked: Asked) -> Done:
    letter = letter_of(asked)
    try:
        room.desk.drop(name, letter, owner=owner)
    except UnknownHookError:
        raise
    except NothingThereError:
        raise RefusedError(404, NOT_SET_ASIDE) from None
    return Done(SAID["drop"])


def letter_of(asked: Asked) -> int:
    """Return the number of an event among those set aside; ConfigError if it is not one."""
    text = asked.text("letter")
    if not text.isascii() or not text.isdecimal() or len(text) > _LETTER_MAX_DIGITS:
        raise ConfigError("letter must be the number of an event that is set aside")
    return int(text)


def _rotate(room: Room, name: str, owner: str, asked: Asked) -> Done:
    now = asked.yes("now")
    secret = room.desk.rotate(name, now=now, owner=owner)
    said = "The former secret has ended." if now else "The former secret signs as well for another day."
    return Done(said, {"secret": secret}, secret)


def _edit(room: Room, name: str, owner: str, asked: Asked) -> Done:
    url, topics = asked.text("url"), asked.lines("topics")
    handshake = asked.text("handshake")
    if not url and not topics and not handshake:
        raise ConfigError("name the url, the topics or the handshake")
    doubt = room.desk.edit(
        name,
        url=url or None,
        topics=topics or None,
        handshake=check_handshake(handshake) if handshake else None,
        owner=owner,
    )
    return Done(_said_edit(room.desk.show(name, owner=owner, attempts=1)), {"doubt": doubt})


def _remove(room: Room, name: str, owner: str, asked: Asked) -> Done:
    del asked
    room.desk.remove(name, owner=owner)
    return Done(SAID["remove"])


ACTIONS = {
    "test": Action(_test, yes="Send a test"),
    "pause": Action(_pause, yes="Pause"),
    "resume": Action(_resume, yes="Resume"),
    "redeliver": Action(_redeliver, ("id", "failed", "since"), yes="Send again"),
    "drop": Action(_drop, ("letter",), "Drop it", "Keep it", "Drop this event? It will not be sent."),
    "rotate": Action(
        _rotate,
        ("now",),
        "Make a new secret",
        "Keep the secret",
        "Make a new secret? You see it once, on the next page. The former one signs as well for another day, so that "
        "the receiver can be changed meanwhile.",
    ),
    "edit": Action(_edit, ("url", "topics", "handshake")),
    "remove": Action(
        _remove,
        (),
        "Remove it",
        "Keep it",
        "Remove this hook? What waits and what is set aside is not sent any more, and the secret ends.",
    ),
}
