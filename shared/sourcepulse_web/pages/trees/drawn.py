# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pushes as HTML, drawn once for as long as their documents stay the same."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from sourcepulse_web.pages.trees import texts

if TYPE_CHECKING:
    from jinja2 import Environment

    from sourcepulse_web.board.documents import PushDoc

#: A push of 40 builds takes 2 ms to draw, in which no stream is served, and about 50 KiB here.
PUSHES_KEPT = 400


class Drawn:
    """Draws pushes. What a push was drawn from is compared as a whole, so that nothing withdrawn or corrected stays."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._kept: OrderedDict[tuple[str, int], tuple[PushDoc, Markup]] = OrderedDict()

    def push(self, push: PushDoc) -> Markup:
        """Return the element of a push."""
        key = push["repo"], push["id"]
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] != push:
            module: Any = self._environment.get_template("push.html").make_module(texts.HELPERS)
            kept = push, Markup(module.push_item(push))  # noqa: S704 - a macro of a template, which escapes
        self._kept[key] = kept
        while len(self._kept) > PUSHES_KEPT:
            self._kept.popitem(last=False)
        return kept[1]
