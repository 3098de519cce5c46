# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Routing keys and patterns, the same on every broker: escape, unescape, build, match."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from sourcepulse.errors import ConfigError

#: AMQP 0-9-1 carries a routing key as a short string of at most 255 bytes.
KEY_MAX_BYTES = 255
#: A longer key is cut to its first bytes, followed by this mark and the first digits of its SHA-256.
KEY_CUT_BYTES = 237
KEY_CUT_MARK = "_-"
KEY_DIGEST_DIGITS = 16
#: A binding key is a short string as well.
PATTERN_MAX_BYTES = 255
#: What a stranger may pass has at most so many words '#'; each more makes a comparison longer.
HASHES_MAX = 4

#: The first words of the routing keys of the events that a source of this scheme numbers (events.md).
FAMILIES = {
    "hg": ("hg",),
    "bugzilla": ("bugzilla",),
    "buildbot": ("change", "build", "test"),
    "system": ("system",),
}

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
# Not compiled here, because the hook runs at every push and needs none of them; re caches them on first use.
_ESCAPE = r"_(?:([0-9A-F]{2})|(_))"
_PATTERN_WORD = r"\*|#|[A-Za-z0-9_-]+"


def escape_word(value: str) -> str:
    """Write a value as one word of `[A-Za-z0-9_-]`, reversibly; an empty value is `_`.

    A value from bytes that are not UTF-8 may contain the surrogates of `os.fsdecode`; UnicodeEncodeError for any other
    half of a surrogate pair.
    """
    if not value:
        return "_"
    if value.isascii() and value.replace("-", "0").isalnum():
        return value
    return "".join(
        chr(byte) if byte in _PLAIN else "__" if byte == 0x5F else f"_{byte:02X}"
        for byte in value.encode("utf-8", "surrogateescape")
    )


def unescape_word(word: str) -> str:
    """Return the value of a word from `escape_word`; ValueError for any other word."""
    if word == "_":
        return ""
    out = bytearray()
    position = 0
    while position < len(word):
        if word[position] != "_":
            out += word[position].encode("ascii")
            position += 1
            continue
        escape = re.compile(_ESCAPE).match(word, position)
        if escape is None:
            raise ValueError(f"{word!r} is not an escaped word")
        out.append(int(escape[1], 16) if escape[1] else 0x5F)
        position = escape.end()
    value = out.decode("utf-8", "surrogateescape")
    if escape_word(value) != word:
        raise ValueError(f"{word!r} is not an escaped word")
    return value


def routing_key(*words: str, variable: Sequence[str] = ()) -> str:
    """Join the fixed words and the escaped variable ones, at most 255 bytes."""
    key = ".".join([*words, *map(escape_word, variable)])
    if len(key) <= KEY_MAX_BYTES:
        return key
    digest = hashlib.sha256(key.encode("ascii")).hexdigest()[:KEY_DIGEST_DIGITS]
    return key[:KEY_CUT_BYTES] + KEY_CUT_MARK + digest


def check_pattern(pattern: str, *, hashes_max: int | None = None) -> str:
    """Return the pattern, or raise ConfigError that says what is wrong with it.

    It has at most PATTERN_MAX_BYTES bytes and, for a stranger's pattern, at most `hashes_max` words '#'.
    """
    size = len(pattern.encode("utf-8", "surrogatepass"))
    if size > PATTERN_MAX_BYTES:
        raise ConfigError(f"a topic has {size:,} bytes; a routing key has at most {PATTERN_MAX_BYTES}, so shorten it")
    words = pattern.split(".")
    for word in words:
        if not re.fullmatch(_PATTERN_WORD, word):
            raise ConfigError(
                f"the topic {pattern!r} has the word {word!r}; a word is '*' (one word), '#' (any number) "
                "or letters, digits, '-' and '_'"
            )
    if hashes_max is not None and words.count("#") > hashes_max:
        raise ConfigError(
            f"the topic {pattern!r} has more than {hashes_max} words '#'; one stands for any number of words"
        )
    return pattern


def matches(pattern: str, key: str) -> bool:
    """Return whether a key fits a pattern: `*` is exactly one word, `#` any number of words, none included.

    The rules are those of AMQP 0-9-1 section 3.1.3.3 (topic exchange).
    """
    return _match(simplified(pattern), key.split("."))


def simplified(pattern: str) -> list[str]:
    """Return the words of the shortest pattern that matches the same keys.

    Wildcards beside each other that have a '#' are as many '*' as there were, then one '#'. So a pattern is compared
    with a key of n words in about n * n steps at most, however many '#' a stranger wrote.
    """
    words = pattern.split(".")
    if words.count("#") < 2:
        return words
    found: list[str] = []
    is_open = False
    for word in [*words, ""]:
        if word == "#":
            is_open = True
            continue
        if word != "*" and is_open:
            found.append("#")
            is_open = False
        found.append(word)
    return found[:-1]


def _match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    # The states are the reachable positions in the pattern; '#' may stay or be skipped, so the work is at most the
    # product of both lengths for any pattern.
    if len(pattern) - pattern.count("#") > len(words):
        return False
    reached = _skip_hashes({0}, pattern)
    for word in words:
        step = set()
        for place in reached:
            if place == len(pattern):
                continue
            if pattern[place] == "#":
                step.add(place)
            elif pattern[place] in ("*", word):
                step.add(place + 1)
        reached = _skip_hashes(step, pattern)
        if not reached:
            return False
    return len(pattern) in reached


def _skip_hashes(places: set[int], pattern: Sequence[str]) -> set[int]:
    # Two '#' are never beside each other.
    return places | {place + 1 for place in places if place < len(pattern) and pattern[place] == "#"}


def covers(pattern: str, words: Sequence[str]) -> bool:
    """Return whether a pattern matches every key that begins with these words."""
    parts = pattern.split(".")
    end = len(parts)
    while end and parts[end - 1] in ("*", "#"):
        end -= 1
    # Only a trailing '#' matches keys of any length; '#.*' counts as one.
    return "#" in parts[end:] and _match(simplified(pattern), words)
