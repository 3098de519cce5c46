# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/hooks` and what is below it: who may see what, forms and JSON, and errors as sentences in the form asked for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sourcepulse.errors import ConfigError, NothingThereError, SourcePulseError
from sourcepulse_web.pages.hooks.answers import RefusedError, refusal
from sourcepulse_web.pages.hooks.asked import foreign
from sourcepulse_web.pages.hooks.check import sentence_of
from sourcepulse_web.pages.hooks.desks import BusyError, Desks
from sourcepulse_web.pages.hooks.form_token import FormTokens
from sourcepulse_web.pages.hooks.room import Rooms
from sourcepulse_web.server.asker import UserError, is_operator, user_of
from sourcepulse_web.server.page import AGAIN_SECONDS
from sourcepulse_web.webhooks.errors import AddressRefusedError, UnknownHookError
from sourcepulse_web.webhooks.hook import NAME

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

_SIGN_IN = "Hooks are for users whom the proxy of this site names: sign in there, and come back."
_READ_ONLY = (
    "Hooks are changed by users whom a trusted proxy names (proxy_header in [webhooks]), or with `sourcepulse webhook`."
)
_NOT_YOURS = (
    "This list is for the one who runs the gateway: open it on the gateway's own machine, at its own address and not "
    "through a proxy, where no `hosts` are set, or run `sourcepulse queues` there."
)
_AWAY = "Hooks cannot be read or changed now; try again in a moment. The log of the gateway says why."
_UNKNOWN = "You have no hook of this name; /hooks lists those that you have."

log = Logger()


class Asker(NamedTuple):
    """Who asks: a user, or the operator, who sees all hooks and changes none here."""

    user: str

    @property
    def owner(self) -> str | None:
        """Whose hooks are seen: as the desk asks for it."""
        return self.user or None

    @property
    def is_operator(self) -> bool:
        """Whether it is the one who runs the gateway."""
        return not self.user


class Parts(NamedTuple):
    """What the answers share."""

    services: Services
    tokens: FormTokens
    desks: Desks


Answer = Callable[["Request", Asker, list[str]], Coroutine[Any, Any, bytes]]


class Pages(Resource):
    """Answers below /hooks by coroutines, and turns what they raise into sentences."""

    isLeaf = True

    def __init__(self, services: Services, read: Callable[[Parts], Answer], change: Callable[[Parts], Answer]) -> None:
        super().__init__()
        self._services = services
        parts = Parts(services, FormTokens(services.clock), Desks(Rooms(services).opened))
        self._read = read(parts)
        self._change = change(parts)

    def render_GET(self, request: Request) -> int:
        return self._serve(request, self._read)

    def render_POST(self, request: Request) -> int:
        return self._serve(request, self._changed)

    async def _changed(self, request: Request, asker: Asker, path: list[str]) -> bytes:
        # A form of another site must not even learn whether somebody is signed in.
        sentence = foreign(request, self._services.settings().hosts)
        if sentence is not None:
            raise RefusedError(403, sentence)
        if not asker.user:
            raise RefusedError(403, _READ_ONLY)
        return await self._change(request, asker, path)

    def _serve(self, request: Request, answer: Answer) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        done = Deferred.fromCoroutine(self._answered(request, answer))
        done.addErrback(lambda failure: _failed(request, failure))
        done.addCallback(lambda body: None if gone else _finish(request, body))
        done.addErrback(lambda failure: None if gone else request.processingFailed(failure))
        return NOT_DONE_YET

    async def _answered(self, request: Request, answer: Answer) -> bytes:
        path = [each.decode("utf-8", "replace") for each in request.postpath or []]
        # `/hooks/` is the list as well.
        path = path[:-1] if path and not path[-1] else path
        if path and not NAME.fullmatch(path[0]):
            raise UnknownHookError(path[0])
        return await answer(request, self._asker(request), path)

    def _asker(self, request: Request) -> Asker:
        settings = self._services.settings()
        user = user_of(request, settings.webhooks)
        if user is not None:
            return Asker(user)
        if is_operator(request, settings):
            return Asker("")
        has_users = settings.webhooks is not None and settings.webhooks.proxy_header is not None
        raise RefusedError(403, _SIGN_IN if has_users else _NOT_YOURS)


def _finish(request: Request, body: bytes) -> None:
    request.write(body)
    request.finish()


def _failed(request: Request, failure: Failure) -> bytes:
    """Return the sentence of an error that a reader can do something about; any other passes through."""
    error = failure.value
    if isinstance(error, RefusedError):
        return refusal(request, error.code, str(error), error.title)
    if isinstance(error, UserError):
        return refusal(request, 403, str(error))
    if isinstance(error, UnknownHookError):
        return refusal(request, 404, _UNKNOWN)
    if isinstance(error, ConfigError | AddressRefusedError):
        return refusal(request, 400, sentence_of(error))
    if isinstance(error, NothingThereError):
        return refusal(request, 404, sentence_of(error))
    if isinstance(error, BusyError):
        request.setHeader(b"retry-after", str(AGAIN_SECONDS).encode())
        return refusal(request, 503, str(error))
    if isinstance(error, SourcePulseError):
        # The text names files of this machine.
        log.error("hooks cannot be read or changed: {error}", error=str(error))
        request.setHeader(b"retry-after", str(AGAIN_SECONDS).encode())
        return refusal(request, 503, _AWAY)
    failure.raiseException()
    raise AssertionError
