# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the numbers of test reports in any locale, but only if they are unambiguous."""

from __future__ import annotations

import math
import re

#: The maximum of integer columns in PostgreSQL and MySQL.
INT32_MAX = 2**31 - 1
DURATION_NS_MAX = 2**63 - 1
NS_PER_SECOND = 1_000_000_000
#: A longer text is not a number.
NUMBER_CHARACTERS_MAX = 40

#: Spaces and apostrophes are only used as thousands separators.
_SPACING = re.compile("[\\s'\u2019\u00a0\u202f]")
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<digits>[0-9.,\u066b]+)(?P<exponent>[eE][+-]?[0-9]{1,3})?")
#: Thousands: groups of three after a first one that does not begin with 0.
_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:[.,][0-9]{3})+")
_NS_PER_UNIT = {"ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 1_000_000}


def duration_ns(text: str, unit: str = "s") -> int | None:
    """Return a duration of a report in nanoseconds; None if it is not a number or ambiguous."""
    plain = _plain(text)
    if plain is None:
        return None
    value = float(plain) * _NS_PER_UNIT.get(unit, NS_PER_SECOND)
    return round(value) if math.isfinite(value) and 0 <= value < DURATION_NS_MAX else None


def whole_number(text: str | None) -> int | None:
    """Return a count or the number of a line; None if it is absent or not a number."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(INT32_MAX)) else None


def _plain(text: str) -> str | None:
    """Return the number with a decimal point and without thousands separators."""
    if len(text) > NUMBER_CHARACTERS_MAX:
        return None
    match = _NUMBER.fullmatch(_SPACING.sub("", text))
    if match is None:
        return None
    digits = match["digits"].replace("\u066b", ",")
    sign, exponent = match["sign"], match["exponent"] or ""
    marks = {mark: digits.count(mark) for mark in ".,"}
    if not any(character.isdigit() for character in digits):
        return None
    if all(marks.values()):
        # The last separator is the decimal one.
        decimal = max(marks, key=digits.rfind)
        whole, _, decimals = digits.rpartition(decimal)
        is_clear = marks[decimal] == 1 and _GROUPED.fullmatch(whole)
        return f"{sign}{re.sub('[.,]', '', whole)}.{decimals}{exponent}" if is_clear else None
    if max(marks.values()) > 1:
        return f"{sign}{re.sub('[.,]', '', digits)}{exponent}" if _GROUPED.fullmatch(digits) else None
    if marks[","] and not exponent and _GROUPED.fullmatch(digits):
        # "1,234" is 1.234 in Berlin and 1234 in London.
        return None
    return f"{sign}{digits.replace(',', '.')}{exponent}"
