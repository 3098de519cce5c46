# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `webhook import` reads: hooks as `list --json` prints them, each perhaps with its secret."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from sourcepulse.errors import ConfigError, quoted
from sourcepulse.events.safe_text import reason_line
from sourcepulse_web.webhooks.desk.card import Look
from sourcepulse_web.webhooks.hook import (
    PAUSED,
    PAUSED_BY_ADMIN,
    Handshake,
    Hook,
    State,
    check_handshake,
    check_name,
    check_owner,
    check_topics,
)
from sourcepulse_web.webhooks.post.signature import key_of

#: A file that is larger has more hooks than a gateway serves.
FILE_MAX_BYTES = 4 * 1024 * 1024
_TEXTS = ("name", "url", "owner", "handshake", "bearer_file", "secret", "state", "reason")
_NO_REASON = "it was so in the imported list"
_READ = (*_TEXTS, "topics")
#: What `list --json` and `show --json` print beside it, which is not of the hook but of its past.
_PASSED_OVER = (
    "since", "failing_since", "last_success_at", "next_at", "waiting", "oldest_at", "refused", "refused_next_at",
    "set_aside", "delivered", "withheld", "lost", "interrupted_at", "consent", "old_secret_until", "last", "oldest",
    "attempts", "set_aside_events",
)  # fmt: skip


class Entry(NamedTuple):
    """One hook of a file; without a secret one is made, and without a state it is on."""

    hook: Hook
    secret: str | None
    state: State = State.ON
    #: Why it is not on; "" if it is.
    reason: str = ""

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Entry({self.hook!r})"


def read_entries(raw: bytes) -> list[Entry]:
    """Return the hooks of a JSON list, or of lines of JSON; ConfigError names the first entry that is wrong.

    The URL itself is not checked, because that needs the settings.
    """
    if len(raw) > FILE_MAX_BYTES:
        raise ConfigError(f"the file has more than {FILE_MAX_BYTES // 2**20} MiB; import it in parts")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8 text") from None
    entries: list[Entry] = []
    places: dict[str, str] = {}
    for where, value in _values(text):
        entry = _entry(value, where)
        name = entry.hook.name
        if name in places:
            raise ConfigError(f"{places[name]} and {where} have the same name {quoted(name)}; keep one")
        places[name] = where
        entries.append(entry)
    if not entries:
        raise ConfigError("the file has no hook")
    return entries


def _values(text: str) -> Iterable[tuple[str, Any]]:
    if text.lstrip().startswith("["):
        values = _loaded(text, "the file")
        return [(f"entry {number}", value) for number, value in enumerate(values, 1)]
    lines = [(f"line {number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [(where, _loaded(line, where)) for where, line in lines]


def _loaded(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        # The text of the error would repeat what may be a secret.
        raise ConfigError(
            f"{where} is not JSON; write a list of objects, or one object per line as `webhook list --json` prints them"
        ) from None


def _entry(value: Any, where: str) -> Entry:
    if not isinstance(value, dict):
        raise ConfigError(f'{where} must be an object, such as {{"name": "chat-room", "url": ..., "topics": [...]}}')
    for key in value:
        if key not in _READ and key not in _PASSED_OVER:
            near = difflib.get_close_matches(key, _READ, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_READ)}"
            raise ConfigError(f"unknown key {quoted(key)} in {where}; {hint}")
    texts = {key: value.get(key) or "" for key in _TEXTS}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise ConfigError(f"{key} in {where} must be a string")
    topics = value.get("topics")
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise ConfigError(f"topics in {where} must be a list of strings, such as ['hg.push.#']")
    try:
        return _checked(texts, topics)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked(texts: dict[str, str], topics: list[str]) -> Entry:
    if texts["secret"]:
        key_of(texts["secret"])
    hook = Hook(
        name=check_name(texts["name"]),
        url=texts["url"],
        topics=check_topics(topics),
        owner=check_owner(texts["owner"]),
        handshake=check_handshake(texts["handshake"] or Handshake.OFF.value),
        bearer_file=texts["bearer_file"],
    )
    return Entry(hook, texts["secret"] or None, *_standing(texts["state"], texts["reason"]))


def _standing(state: str, reason: str) -> tuple[State, str]:
    """Return how a hook begins; ConfigError if the state is none that `list --json` prints."""
    try:
        look = Look(state or Look.WORKING)
    except ValueError:
        raise ConfigError(f"the state is one of {', '.join(Look)}, not {quoted(state)}") from None
    if look not in (Look.PAUSED, Look.PARKED, Look.OFF):
        return State.ON, ""
    if look is Look.PAUSED:
        # Of any other reason it is not known that the owner may end it.
        return State.PAUSED, reason if reason == PAUSED else PAUSED_BY_ADMIN
    return State(look.value), reason_line(reason) or _NO_REASON
