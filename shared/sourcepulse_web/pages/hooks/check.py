# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The fields of a hook's form: each is checked by itself, so that a reader sees all that is wrong at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse_web.pages.hooks.asked import Asked, check_known
from sourcepulse_web.pages.hooks.view import Form
from sourcepulse_web.webhooks.errors import AddressRefusedError
from sourcepulse_web.webhooks.hook import Handshake, check_handshake, check_name, check_topics

if TYPE_CHECKING:
    from sourcepulse_web.pages.hooks.room import Room

FIELDS = ("name", "url", "topics", "handshake")
#: What else the JSON of a new hook may have: whether it is only checked, and whether a test is sent.
FLAGS = ("check", "test")
TAKEN = "A hook has this name already; choose another name."


def form_asked(asked: Asked) -> Form:
    """Return what was typed; ConfigError if a member of JSON is unknown or of another type."""
    check_known(asked, (*FIELDS, *FLAGS))
    return Form(
        name=asked.text("name"),
        url=asked.text("url"),
        topics=tuple(asked.lines("topics")),
        handshake=asked.text("handshake") or Handshake.OFF.value,
    )


def checked(form: Form, room: Room, *, fields: Collection[str], is_new: bool) -> Form:
    """Return the form with what is wrong with these fields, and with what it would have matched.

    It may wait for the name service, because an address that leads into a private network is wrong as well.
    """
    errors, doubt, topics_doubt, matches = {}, "", "", None
    if "name" in fields and is_new:
        errors["name"] = _name_error(form.name, room)
    if "url" in fields:
        try:
            doubt = room.desk.look_up(form.url)
        except (ConfigError, AddressRefusedError) as error:
            errors["url"] = sentence_of(error)
    if "topics" in fields:
        try:
            topics = check_topics(form.topics)
            matches, topics_doubt = room.desk.matches(topics), room.desk.topics_doubt(topics)
        except ConfigError as error:
            errors["topics"] = sentence_of(error)
    if "handshake" in fields:
        try:
            check_handshake(form.handshake)
        except ConfigError as error:
            errors["handshake"] = sentence_of(error)
    found = {name: error for name, error in errors.items() if error}
    return form._replace(errors=found, matches=matches, doubt=doubt and sentence_of(doubt), topics_doubt=topics_doubt)


def _name_error(name: str, room: Room) -> str:
    try:
        # Also of another user, whose hook would keep this one from being made.
        return "" if room.store.hook(check_name(name)) is None else TAKEN
    except ConfigError as error:
        return sentence_of(error)


def sentence_of(error: SourcePulseError | str) -> str:
    """Return the text of an error as a sentence; a name at its beginning stays as it is."""
    text = str(error).strip()
    first = text[:1].upper() if text.partition(" ")[0].isalpha() else text[:1]
    return f"{first}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"
