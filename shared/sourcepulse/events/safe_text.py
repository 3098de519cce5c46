# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Foreign text in one bounded line: it must neither control a terminal nor forge a log line."""

from sourcepulse.errors import VALUE_MAX_CHARACTERS

#: AMQP carries a content type in a short string.
CONTENT_TYPE_MAX_CHARACTERS = 255
#: A reason that goes into a log or the headers of a dead letter.
REASON_MAX_CHARACTERS = 1000


def plain(text: str) -> str:
    """Return a text that is safe for a terminal and a log: unprintable characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(text: str, most: int = VALUE_MAX_CHARACTERS) -> str:
    """Return the beginning of a text, in printable characters."""
    shown = plain(text[:most])
    return shown if len(text) <= most else shown + "..."


def ascii_line(text: str) -> str:
    """Return a content type from any program in a form that every broker accepts."""
    if len(text) <= CONTENT_TYPE_MAX_CHARACTERS and text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text[:CONTENT_TYPE_MAX_CHARACTERS])


def reason_line(text: str) -> str:
    """Return a reason as one line that any broker can carry in a header."""
    return short(text, REASON_MAX_CHARACTERS)
