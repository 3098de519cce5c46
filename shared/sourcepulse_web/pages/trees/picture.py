# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pictures of a tab, as addresses; `static/tab.js` makes the same while a page is open."""

from __future__ import annotations

from urllib.parse import quote

QUIET, BAD, GOOD = "#57606a", "#b3261e", "#1c6b3f"
_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{shape}"
    "<text x='8' y='12' font-size='11' text-anchor='middle' fill='#fff'>{text}</text></svg>"
)


def picture(fill: str, text: str = "", *, square: bool = False) -> str:
    """Return a circle, or a square, with a text of one or two characters in it."""
    shape = f"<rect width='16' height='16' rx='2' fill='{fill}'/>"
    if not square:
        shape = f"<circle cx='8' cy='8' r='8' fill='{fill}'/>"
    svg = _SVG.format(shape=shape, text=text)
    return f"data:image/svg+xml,{quote(svg, safe=' =:/')}".replace("'", "%27")
