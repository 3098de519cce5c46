# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is done below /hooks: a hook is added, and one is tested, paused, changed or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.web.http import CREATED, SEE_OTHER

from sourcepulse.errors import ConfigError
from sourcepulse_web.pages.hooks.actions import ACTIONS, Done, did, perform
from sourcepulse_web.pages.hooks.answers import EXPIRED, RefusedError, as_json, expired, no_page
from sourcepulse_web.pages.hooks.asked import Asked, is_by_own_page, read
from sourcepulse_web.pages.hooks.check import FIELDS, TAKEN, checked, form_asked, sentence_of
from sourcepulse_web.pages.hooks.page import Asker, Parts
from sourcepulse_web.pages.hooks.shown import Seen, Shown, Since, seen_of
from sourcepulse_web.pages.hooks.view import Form
from sourcepulse_web.server.page import render
from sourcepulse_web.webhooks.errors import HookExistsError
from sourcepulse_web.webhooks.hook import Handshake

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.pages.hooks.room import Room
    from sourcepulse_web.webhooks.desk.desk import Added

#: The hidden field of each form.
_HIDDEN = "token"
_NO_ACTION = f"There is no such action; there are {', '.join(ACTIONS)}."
_CORRECT = "Correct what is wrong below; nothing was made."


class Outcome(NamedTuple):
    """What came of a form: it is shown again with what is wrong, or a hook was made."""

    form: Form
    added: Added | None = None
    #: The number of the test that was asked for.
    test: int | None = None


class Changed:
    """Answers POST."""

    def __init__(self, parts: Parts, shown: Shown) -> None:
        self._parts = parts
        self._services = parts.services
        self._shown = shown

    async def __call__(self, request: Request, asker: Asker, path: list[str]) -> bytes:
        """Return the answer to a POST below /hooks, of a user."""
        body = b"" if request.content is None else request.content.read()
        asked = read(request.getHeader("content-type") or "", body)
        if not path:
            return await self._add(request, asker, asked)
        if len(path) != 2 or path[1] not in ACTIONS:
            raise no_page() if len(path) != 2 else RefusedError(404, _NO_ACTION)
        name, action = path
        if not self._has_token(asker, asked, f"{action} {name}"):
            return await self._again(request, asker, asked, name, action)
        if action == "edit" and not asked.is_json:
            return await self._edit(request, asker, name, asked)
        try:
            done: Done = await self._parts.desks.run(
                asker.user, lambda room: perform(room, action, name, asker.user, _without_token(asked))
            )
        except ConfigError as error:
            if asked.is_json or action != "redeliver" or not asked.fields.get("since"):
                raise
            return await self._since_again(request, asker, name, Since(asked.text("since"), sentence_of(error)))
        if asked.is_json:
            return as_json(request, 202 if action == "test" else 200, {"said": done.said, **done.more})
        if done.secret:
            return self._secret(request, asker, name, done.secret, done.said)
        return _see(request, "/hooks" if action == "remove" else f"/hooks/{name}", did(action, done))

    async def _add(self, request: Request, asker: Asker, asked: Asked) -> bytes:
        if not self._has_token(asker, asked, "add"):
            return await self._again(request, asker, asked)
        is_json = asked.is_json
        only_check = asked.yes("check")
        fields = [name for name in FIELDS if name in asked.fields] if only_check and is_json else FIELDS
        form = form_asked(asked)
        # By a form not: the receiver has not the secret yet, and would refuse it.
        sends_test = is_json and asked.yes("test")
        outcome: Outcome = await self._parts.desks.run(
            asker.user,
            lambda room: _checked(room, form, fields) if only_check else _added(room, form, asker, test=sends_test),
        )
        if is_json:
            return _add_json(request, outcome, only_check=only_check)
        if outcome.added is not None:
            return self._secret(request, asker, form.name, outcome.added.secret, "Added.", outcome.added.doubt)
        return await self._form(request, asker, outcome.form, is_wrong=not only_check or bool(outcome.form.errors))

    async def _edit(self, request: Request, asker: Asker, name: str, asked: Asked) -> bytes:
        """Change a hook by its form, which has all fields, and is shown again if one is wrong."""
        form = form_asked(_without_token(asked))._replace(name=name)
        only_check = asked.yes("check")

        def edit(room: Room) -> Form:
            # First, because of other users' hooks not even a form is shown.
            room.desk.show(name, owner=asker.user)
            found = checked(form, room, fields=FIELDS, is_new=False)
            if not found.errors and not only_check:
                perform(room, "edit", name, asker.user, _without_token(asked))
            return found

        found = await self._parts.desks.run(asker.user, edit)
        if found.errors or only_check:
            return await self._form(request, asker, found, is_wrong=bool(found.errors), edit=True)
        return _see(request, f"/hooks/{name}", "did=edit")

    async def _form(self, request: Request, asker: Asker, form: Form, *, is_wrong: bool, edit: bool = False) -> bytes:
        """Return the page with the form as it was typed, and with what is wrong."""
        name = form.name if edit else ""
        seen: Seen = await self._shown.read(asker, lambda room: seen_of(room, asker, name))
        body = self._shown.page(request, asker, seen, form=form, edit=edit)
        request.setResponseCode(400 if is_wrong else 200)
        return body

    async def _since_again(self, request: Request, asker: Asker, name: str, since: Since) -> bytes:
        """Return the page of a hook with the time that cannot be used, and why."""
        seen: Seen = await self._shown.read(asker, lambda room: seen_of(room, asker, name))
        body = self._shown.page(request, asker, seen, form=Form(), since=since)
        request.setResponseCode(400)
        return body

    def _secret(self, request: Request, asker: Asker, name: str, secret: str, said: str, doubt: str = "") -> bytes:
        """Return the page that shows a secret; loading it again is the same form again, which is refused."""
        return render(
            request,
            self._services,
            "hooks/secret.html",
            here="hooks",
            name=name,
            secret=secret,
            said=said,
            token=self._shown.token(asker, f"test {name}"),
            doubt=doubt and sentence_of(doubt),
        )

    def _has_token(self, asker: Asker, asked: Asked, purpose: str) -> bool:
        """Return whether a form has its token; JSON needs none, because another site must ask before it."""
        return asked.is_json or self._parts.tokens.use(asked.text(_HIDDEN), asker.user, purpose)

    async def _again(self, request: Request, asker: Asker, asked: Asked, name: str = "", action: str = "") -> bytes:
        """Return a form without a good token as it was filled in, with a token of now, so that one click sends it.

        Only where the browser names our own page, which no other page can bring about: what another site filled in
        must not get a token. Nothing is done before that click.
        """
        if not is_by_own_page(request):
            raise expired(f"/hooks/{name}" if name else "/hooks")
        asked = _without_token(asked)
        if action in ("", "edit"):
            form = form_asked(asked)._replace(errors={"": EXPIRED})
            form = form._replace(name=name) if name else form
            body = await self._form(request, asker, form, is_wrong=True, edit=bool(action))
        else:
            body = await self._shown.ask(request, asker, name, action, asked.fields, EXPIRED)
        request.setResponseCode(403)
        return body


def _checked(room: Room, form: Form, fields: list[str] | tuple[str, ...]) -> Outcome:
    return Outcome(checked(form, room, fields=fields, is_new=True))


def _added(room: Room, form: Form, asker: Asker, *, test: bool) -> Outcome:
    """Make a hook, if nothing is wrong."""
    form = checked(form, room, fields=FIELDS, is_new=True)
    if form.errors:
        return Outcome(form)
    try:
        added = room.desk.add(form.name, form.url, form.topics, owner=asker.user, handshake=Handshake(form.handshake))
    except HookExistsError:
        return Outcome(form._replace(errors={"name": TAKEN}))
    except ConfigError as error:
        return Outcome(form._replace(errors={"": sentence_of(error)}))
    return Outcome(form, added, room.desk.test(form.name, owner=asker.user) if test else None)


def _add_json(request: Request, outcome: Outcome, *, only_check: bool) -> bytes:
    form, added = outcome.form, outcome.added
    if added is not None:
        request.setHeader(b"location", f"/hooks/{form.name}".encode())
        document: dict[str, Any] = {
            "name": form.name,
            "secret": added.secret,
            "doubt": added.doubt,
            "test": outcome.test,
        }
        return as_json(request, CREATED, document)
    if only_check:
        count = None if form.matches is None else form.matches.count
        document = {
            "errors": form.errors,
            "matches": count,
            "said": form.said,
            "doubt": form.doubt,
            "topics_doubt": form.topics_doubt,
        }
        return as_json(request, 200, document)
    return as_json(request, 400, {"error": form.errors.get("") or _CORRECT, "errors": form.errors})


def _without_token(asked: Asked) -> Asked:
    return asked._replace(fields={name: value for name, value in asked.fields.items() if name != _HIDDEN})


def _see(request: Request, path: str, query: str) -> bytes:
    request.setResponseCode(SEE_OTHER)
    request.setHeader(b"location", f"{path}?{query}".encode())
    request.setHeader(b"cache-control", b"no-store")
    return b""
