# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is read below /hooks: the list, one hook, what is asked before something is done, and an event set aside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import HASHES_MAX, check_pattern
from sourcepulse_web.pages.catalogue.json_text import tokens
from sourcepulse_web.pages.hooks import view, words
from sourcepulse_web.pages.hooks.actions import ACTIONS, NOT_SET_ASIDE, has_done, said_of
from sourcepulse_web.pages.hooks.answers import RefusedError, as_json, is_for_program, no_page, webhooks_of
from sourcepulse_web.pages.hooks.page import Asker, Parts
from sourcepulse_web.pages.hooks.queues import queue_values
from sourcepulse_web.server.page import render
from sourcepulse_web.webhooks.desk.card import Card, card_json, whole_json
from sourcepulse_web.webhooks.desk.desk import ATTEMPTS
from sourcepulse_web.webhooks.desk.sights import Sight, SightState
from sourcepulse_web.webhooks.store.records import Delivered

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.pages.hooks.room import Room
    from sourcepulse_web.webhooks.hook import Attempt

#: Of `key=`, by which another page fills the form in.
PATTERNS_MAX = 10
#: How often an answer is read again because something was withdrawn meanwhile.
READS_MAX = 5
#: Of a number in the store, which has 64 bits.
_NUMBER_MAX_DIGITS = 18

Result = TypeVar("Result")


class Seen(NamedTuple):
    """What a page shows of the hooks of one user, and of the chosen one."""

    cards: list[Card]
    #: Whether the sender runs.
    runs: bool
    card: Card | None = None
    delivered: Delivered = Delivered()
    #: About topics of the chosen one that match no event type.
    doubt: str = ""
    #: The event of the attempt that is open, as the log has it now; None if it may not be shown or is gone.
    body: bytes | None = None


def seen_of(room: Room, asker: Asker, name: str = "", *, before: int | None = None, opened: int | None = None) -> Seen:
    """Read it, in a thread; UnknownHookError if this user has no hook of the name."""
    cards, runs = room.desk.list(asker.owner), room.desk.sender_runs()
    if not name:
        return Seen(cards, runs)
    card = room.desk.show(name, owner=asker.owner, before=before)
    tried = zip(card.attempts, card.sights, strict=True)
    body = next((_body(room, each, sight) for each, sight in tried if each.number == opened), None)
    delivered = room.store.attempts.delivered(name, room.now)
    return Seen(cards, runs, card, delivered, room.desk.topics_doubt(card.hook.topics), body)


def _body(room: Room, attempt: Attempt, sight: Sight) -> bytes | None:
    """Return the event of an attempt, if it may be seen; it is read again, because it may be withdrawn by now."""
    loaded = room.queues.load(attempt.position) if sight.state is SightState.PUBLIC else None
    if loaded is None or loaded.withdrawn:
        return None
    try:
        event = json.loads(loaded.body)
    except (ValueError, RecursionError):
        return None
    # In a log that replaced another one the position is that of another event.
    is_same = isinstance(event, dict) and (event.get("source"), event.get("id")) == (attempt.source, attempt.id)
    return loaded.body if is_same else None


class Since(NamedTuple):
    """The time since which all is sent again, as it was typed, and what is wrong with it."""

    text: str = "1h"
    error: str = ""


class Shown:
    """Answers GET."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._services = parts.services

    async def __call__(self, request: Request, asker: Asker, path: list[str]) -> bytes:
        """Return the answer to a path below /hooks."""
        if self._services.settings().webhooks is None:
            if path or not asker.is_operator:
                raise no_page()
            return await self._queues(request, Seen([], runs=True))
        if not path:
            return await self._list(request, asker)
        name, *rest = path
        action = rest[0] if rest else ""
        if len(rest) > 1 or (action and (is_for_program(request) or not asker.user)):
            raise no_page()
        if action == "look":
            return await self._look(request, asker, name)
        if action in ACTIONS and ACTIONS[action].question:
            letter = (request.args or {}).get(b"letter", [b""])[-1].decode("ascii", "replace")
            return await self.ask(request, asker, name, action, {"letter": letter})
        if action not in ("", "edit"):
            raise no_page()
        return await self._one(request, asker, name, edit=action == "edit")

    async def _list(self, request: Request, asker: Asker) -> bytes:
        form = view.Form(topics=tuple(_patterns(request)))
        seen = await self.read(asker, lambda room: seen_of(room, asker))
        if is_for_program(request):
            return as_json(request, 200, self._list_json(asker, seen.cards))
        if asker.is_operator:
            return await self._queues(request, seen)
        return self.page(request, asker, seen, form=form)

    def _list_json(self, asker: Asker, cards: list[Card]) -> dict[str, Any]:
        listed = [card_json(card) for card in cards]
        if asker.is_operator:
            return {"hooks": listed}
        return {
            "user": asker.user,
            "hooks_max": webhooks_of(self._services).owner_hooks_max,
            "hooks": [_without_files(each) for each in listed],
        }

    async def _queues(self, request: Request, seen: Seen) -> bytes:
        patterns = _patterns(request)
        values = await queue_values(self._services, self._parts.desks, patterns)
        rows = [view.row_of(card, self._services.clock(), runs=seen.runs) for card in seen.cards]
        return render(
            request,
            self._services,
            "hooks/queues.html",
            here="hooks",
            hooks=rows,
            on=self._services.settings().webhooks is not None,
            **values,
        )

    async def _one(self, request: Request, asker: Asker, name: str, *, edit: bool) -> bytes:
        before, opened = _number(request, b"before"), _number(request, b"open")
        seen = await self.read(asker, lambda room: seen_of(room, asker, name, before=before, opened=opened))
        card = seen.card
        if card is not None and is_for_program(request):
            document = whole_json(card)
            return as_json(request, 200, document if asker.is_operator else _without_files(document))
        form = view.form_of(card.hook) if card is not None and edit else view.Form()
        return self.page(request, asker, seen, form=form, edit=edit)

    def page(
        self,
        request: Request,
        asker: Asker,
        seen: Seen,
        *,
        form: view.Form,
        edit: bool = False,
        since: Since | None = None,
    ) -> bytes:
        """Return the list with the form, and the chosen hook."""
        now, webhooks, card = self._services.clock(), webhooks_of(self._services), seen.card
        opened = _number(request, b"open")
        last = card.attempts[-1].number if card is not None and len(card.attempts) == ATTEMPTS else None
        purpose = f"edit {card.hook.name}" if edit and card is not None else "add"
        chosen = None
        if card is not None:
            chosen = view.chosen_of(card, seen.delivered, now, runs=seen.runs, doubt=seen.doubt)
        return render(
            request,
            self._services,
            "hooks/hooks.html",
            here="hooks",
            user=asker.user,
            rows=[view.row_of(each, now, runs=seen.runs) for each in seen.cards],
            most=webhooks.owner_hooks_max,
            chosen=chosen,
            opened=opened,
            before=_number(request, b"before"),
            older=last,
            tokens=_tokens(seen.body),
            form=form,
            form_token=self.token(asker, purpose) if asker.user else "",
            edit=edit,
            since=since or Since(),
            said=said_of(request.args or {}, card),
            done=has_done(request.args or {}),
            runs=seen.runs,
            rules=words.rules(
                webhooks, None if self._services.bridge is None else self._services.settings().log_keep_s
            ),
            address=words.address_hint(webhooks),
            token=lambda action: self.token(asker, f"{action} {card.hook.name}" if card else action),
        )

    async def ask(
        self, request: Request, asker: Asker, name: str, action: str, fields: Mapping[str, str], said: str = ""
    ) -> bytes:
        """Return the page that asks before something is done; `said` is why it is asked, where it usually is not."""
        letter = fields.get("letter", "")
        card = await self.read(asker, lambda room: room.desk.show(name, owner=asker.owner))
        now = self._services.clock()
        chosen, event = view.chosen_of(card, Delivered(), now), view.refused_of(card, letter, now)
        if action == "drop" and event is None:
            raise RefusedError(404, NOT_SET_ASIDE)
        return render(
            request,
            self._services,
            "hooks/ask.html",
            here="hooks",
            chosen=chosen,
            action=action,
            asks=ACTIONS[action],
            event=event,
            said=said,
            fields={field: fields[field] for field in ACTIONS[action].fields if field in fields and field != "letter"},
            token=self.token(asker, f"{action} {name}"),
        )

    async def _look(self, request: Request, asker: Asker, name: str) -> bytes:
        letter = (request.args or {}).get(b"letter", [b""])[-1].decode("ascii", "replace")

        def look(room: Room) -> tuple[Card, bytes | None]:
            card = room.desk.show(name, owner=asker.owner)
            found = [each.event.letter for each in card.set_aside if str(each.event.letter) == letter]
            _, rows = room.queues.rows(name, [], found, lambda row: row)
            hidden = room.store.attempts.forgotten([(row.source, row.id) for row in rows.values()])
            return card, next((row.body for row in rows.values() if not row.withdrawn and not hidden), None)

        card, body = await self.read(asker, look)
        now = self._services.clock()
        chosen, event = view.chosen_of(card, Delivered(), now), view.refused_of(card, letter, now)
        if event is None:
            raise RefusedError(404, NOT_SET_ASIDE)
        return render(
            request,
            self._services,
            "hooks/look.html",
            here="hooks",
            chosen=chosen,
            event=event,
            tokens=_tokens(body),
            token=self.token(asker, f"redeliver {name}"),
        )

    async def read(self, asker: Asker, work: Callable[[Room], Result]) -> Result:
        """Return what some work reads, again if something was withdrawn meanwhile: it may be in what was read."""
        hub = self._services.hub
        for _ in range(READS_MAX):
            restarts = hub.kept.restarts
            found = await self._parts.desks.run(asker.user, work)
            if not hub.look():
                break
            if hub.kept.restarts == restarts:
                return found
        raise RefusedError(503, "The log cannot be read now; try again.")

    def token(self, asker: Asker, purpose: str) -> str:
        """Return a form token of a user."""
        return self._parts.tokens.make(asker.user, purpose)


def _number(request: Request, name: bytes) -> int | None:
    """Return the number of an attempt in the address; None if there is none."""
    text = (request.args or {}).get(name, [b""])[-1]
    return int(text) if text.isdigit() and len(text) <= _NUMBER_MAX_DIGITS else None


def _patterns(request: Request) -> list[str]:
    try:
        found = [
            check_pattern(each.decode("utf-8", "replace"), hashes_max=HASHES_MAX)
            for each in (request.args or {}).get(b"key", [])
            if each
        ]
    except ConfigError as error:
        raise ConfigError(f"key= cannot be used: {error}") from None
    if len(found) > PATTERNS_MAX:
        raise ConfigError(f"key= may be repeated {PATTERNS_MAX} times at most")
    return found


def _without_files(document: dict[str, Any]) -> dict[str, Any]:
    """Return a hook without the path on this machine that an admin named."""
    return {**document, "bearer_file": bool(document["bearer_file"])}


def _tokens(body: bytes | None) -> list[Any] | None:
    if body is None:
        return None
    try:
        return list(tokens(json.loads(body)))
    except (ValueError, RecursionError):
        return None
