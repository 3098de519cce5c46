# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event that the catalogue prints is the same JSON, without characters that cannot be seen, and never long."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.pages.catalogue.json_text import ITEMS_MAX, tokens

_TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=ITEMS_MAX) | st.dictionaries(_TEXTS, inner, max_size=5),
    max_leaves=20,
)


def printed(value: Any) -> str:
    return "".join(token.text for token in tokens(value))


@settings(max_examples=100, deadline=None)
@given(_VALUES)
def test_it_is_the_same_value_and_all_of_it_can_be_seen(value: Any) -> None:
    text = printed(value)
    assert json.loads(text) == value
    assert all(unicodedata.category(each)[0] != "C" or each == "\n" for each in text)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(_TEXTS, _VALUES, max_size=5))
def test_the_names_of_members_are_tokens_of_their_own(value: dict[str, Any]) -> None:
    names = [json.loads(token.text[:-1]) for token in tokens(value) if token.is_name]
    assert set(value) <= set(names)
    assert all(not token.text.endswith(":") or token.is_name for token in tokens(value))


def test_what_is_long_or_deep_is_cut() -> None:
    deep: Any = "end"
    for _ in range(5_000):
        deep = {"in": [deep]}
    text = printed({"deep": deep, "long": list(range(10_000)), "wide": {str(each): 1 for each in range(10_000)}})
    assert len(text) < 10_000
    assert "and 9,996 more" in text
    assert "and 9,900 more" in text
    json.loads(text)
