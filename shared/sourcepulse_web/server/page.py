# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers: a page of a template, and errors as one sentence, on a page where a browser asks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from twisted.web.resource import Resource

from sourcepulse.events.event import format_time

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

TEMPLATES = Path(__file__).parent.parent / "templates"
HTML = b"text/html; charset=utf-8"
PLAIN = b"text/plain; charset=utf-8"
ERRORS_FROM = 400
#: When a page is asked for again that cannot be drawn yet.
AGAIN_SECONDS = 2
#: The heading of a page about an error; 0 for any other.
TITLES = {
    0: "This cannot be answered",
    400: "This address cannot be used",
    403: "This is not for everybody",
    404: "Nothing is here",
    421: "Another host was asked for",
    500: "This page failed",
    503: "Not now",
}
#: Hours, minutes and seconds of a time.
_CLOCK = slice(11, 19)


@cache
def environment() -> Environment:
    """Return the templates; what they insert is escaped, and a name that they lack is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(request: Request, services: Services, template: str, **values: Any) -> bytes:
    """Return a page. Beside what is passed, templates see `version`, `path`, `settings`, `condition` and _head."""
    return _page(
        request,
        template,
        version=services.version,
        path=request.path.decode("utf-8", "replace"),
        settings=services.settings(),
        condition=services.condition(),
        **{"as_of": format_time(services.clock())[_CLOCK], **values},
    )


def sentence(request: Request, code: int, text: str, *, title: str = "", back: str = "") -> bytes:
    """Return an answer that is one sentence: on a page if a browser asks for one and it is an error, else plain.

    `title` is its heading where that of the status does not fit, and `back` the path of a page to go on from.
    """
    request.setResponseCode(code)
    accepted = request.getHeader(b"accept") or b""
    if code >= ERRORS_FROM and b"text/html" in accepted:
        return _page(request, "error.html", code=code, title=title or TITLES.get(code, TITLES[0]), text=text, back=back)
    request.setHeader(b"content-type", PLAIN)
    request.setHeader(b"cache-control", b"no-store")
    return f"{text}\n".encode()


def _page(request: Request, template: str, **values: Any) -> bytes:
    request.setHeader(b"content-type", HTML)
    request.setHeader(b"cache-control", b"no-store")
    return environment().get_template(template).render({**_head(request), **values}).encode(errors="replace")


def _head(request: Request) -> dict[str, Any]:
    """Return what base.html needs, where a page does not set it: `theme` of the query, `here` and `as_of`."""
    theme = (request.args or {}).get(b"theme", [b""])[0].decode("utf-8", "replace")
    return {"theme": theme, "here": "", "as_of": ""}


def not_found(request: Request, text: str = "There is no such page.") -> bytes:
    """Answer 404."""
    return sentence(request, 404, text)


def bad_request(request: Request, text: str) -> bytes:
    """Answer 400: the sentence says what to correct."""
    return sentence(request, 400, text)


def not_yet(request: Request, reason: str) -> bytes:
    """Answer 503 because something is still read; a browser asks again by itself, and a program knows when to."""
    request.setHeader(b"retry-after", str(AGAIN_SECONDS).encode())
    request.setHeader(b"refresh", str(AGAIN_SECONDS).encode())
    return sentence(request, 503, f"{reason[:1].upper()}{reason[1:]}. This page comes as soon as it has read all.")


class Sentence(Resource):
    """A resource that answers with one sentence, whatever is asked below it."""

    isLeaf = True

    def __init__(self, code: int = 404, text: str = "There is no such page.") -> None:
        super().__init__()
        self._code = code
        self._text = text

    def render(self, request: Request) -> bytes:
        return sentence(request, self._code, self._text)
