# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers: a page of a template, and errors as one plain sentence."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from twisted.web.resource import Resource

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

TEMPLATES = Path(__file__).parent.parent / "templates"
HTML = b"text/html; charset=utf-8"
PLAIN = b"text/plain; charset=utf-8"


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
    """Return a page; templates see `version`, `path`, `settings` and `condition` beside what is passed."""
    request.setHeader(b"content-type", HTML)
    request.setHeader(b"cache-control", b"no-store")
    text = (
        environment()
        .get_template(template)
        .render(
            version=services.version,
            path=request.path.decode("utf-8", "replace"),
            settings=services.settings(),
            condition=services.condition(),
            **values,
        )
    )
    return text.encode()


def sentence(request: Request, code: int, text: str) -> bytes:
    """Return an answer that is one plain sentence."""
    request.setResponseCode(code)
    request.setHeader(b"content-type", PLAIN)
    request.setHeader(b"cache-control", b"no-store")
    return f"{text}\n".encode()


def not_found(request: Request, text: str = "There is no such page.") -> bytes:
    """Answer 404."""
    return sentence(request, 404, text)


def bad_request(request: Request, text: str) -> bytes:
    """Answer 400: the sentence says what to correct."""
    return sentence(request, 400, text)


class Sentence(Resource):
    """A resource that answers with one sentence, whatever is asked below it."""

    isLeaf = True

    def __init__(self, code: int = 404, text: str = "There is no such page.") -> None:
        super().__init__()
        self._code = code
        self._text = text

    def render(self, request: Request) -> bytes:
        return sentence(request, self._code, self._text)
