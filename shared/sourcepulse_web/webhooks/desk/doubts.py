# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Topics that match no event type: a warning and no refusal, because a publisher may have types of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence

from sourcepulse.catalogue import STATUS_SCHEMA, known_types
from sourcepulse.catalogue.addresses import OWN_WORDS, Address, address, own_address
from sourcepulse.errors import quoted

#: Of a sentence about topics, so many are named.
NAMED_MAX = 3
#: How alike a topic and what may be meant are, from 0 to 1.
NEAR_RATIO = 0.7
_VARIABLE = re.compile(r"<\w+(\.\.\.)?>")


def topics_doubt(topics: Sequence[str], own_types: Collection[str] = ()) -> str:
    """Return a sentence about topics that match no event type, with what may be meant; "" if there are none.

    `own_types` are those of the site, with their versions.

    >>> topics_doubt(["hg.push", "hg.tree.#"])
    "'hg.push' matches no event type; did you mean 'hg.push.#'?"
    """
    known = list(_addresses(own_types))
    patterns = [_words(each) for each in known]
    doubtful = [topic for topic in topics if not any(_meet(topic.split("."), each) for each in patterns)]
    return " ".join(_sentence(topic, known) for topic in doubtful[:NAMED_MAX])


def joined(*doubts: str) -> str:
    """Return the sentences that there are as one text."""
    return ". ".join(each for each in doubts if each)


def _addresses(own_types: Collection[str]) -> Iterator[Address]:
    for type_ in (*known_types(), STATUS_SCHEMA):
        found = address(type_)
        # A stand-in has the key of another event.
        if not found.is_stand_in:
            yield found
    yield from map(own_address, own_types)


def _words(known: Address) -> list[str]:
    """Return the pattern of all keys that a type can have."""
    if known.key.endswith(OWN_WORDS):
        return [*known.key.split("<")[0].strip(".").split("."), "#"]
    # A path has dots in its own brackets, so that a split at dots would cut it.
    plain = _VARIABLE.sub(lambda found: "*.#" if found[1] else "*", known.key)
    return plain.split(".")


def _meet(first: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether some key fits both patterns."""
    reached = {(0, 0)}
    for i in range(len(first) + 1):
        for j in range(len(second) + 1):
            if (i, j) not in reached:
                continue
            a = first[i] if i < len(first) else None
            b = second[j] if j < len(second) else None
            if a == "#" or (b == "#" and a is not None):
                reached.add((i + 1, j))
            if b == "#" or (a == "#" and b is not None):
                reached.add((i, j + 1))
            if a is not None and b is not None and (a == b or "*" in (a, b)):
                reached.add((i + 1, j + 1))
    return (len(first), len(second)) in reached


def _sentence(topic: str, known: Sequence[Address]) -> str:
    by_name = {each.topic.removesuffix(".#"): each.topic for each in known}
    near = difflib.get_close_matches(topic.rstrip(".*#").lower(), by_name, n=1, cutoff=NEAR_RATIO)
    hint = f"did you mean {quoted(by_name[near[0]])}?" if near else "the catalogue lists the types."
    return f"{quoted(topic)} matches no event type; {hint}"
