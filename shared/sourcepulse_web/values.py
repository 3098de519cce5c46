# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Checks of values in tables of the configuration file; each returns the value and raises ConfigError by its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sourcepulse.errors import ConfigError, quoted

_T = TypeVar("_T")
#: Called with a value and with where it stands, such as `listen in [web]`.
Check = Callable[[Any, str], _T]


def check_keys(
    table: Mapping[str, Any],
    known: Collection[str],
    where: str,
    *,
    elsewhere: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Return if every key is known; the error names one that is not, and what was meant.

    `elsewhere` has the keys of other tables, for a key that is written into the wrong one.
    """
    for key in table:
        if key not in known:
            table_of = next((name for name, keys in (elsewhere or {}).items() if key in keys), None)
            if table_of is not None:
                raise ConfigError(f"unknown key {quoted(key)} in {where}; it belongs into {table_of}")
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown key {quoted(key)} in {where}; {hint}")


def check_text(value: Any, where: str) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a non-empty string")
    return value


def check_texts(value: Any, where: str) -> tuple[str, ...]:
    """Return a list of such strings."""
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of strings")
    return tuple(check_text(each, f"each of {where}") for each in value)


def check_yes(value: Any, where: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false")
    return value


def check_whole(lowest: int, highest: int) -> Check[int]:
    """Return a check for a whole number within these bounds."""

    def check(value: Any, where: str) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ConfigError(f"{where} must be a whole number from {lowest} to {highest}")
        return value

    return check


def check_number(lowest: float, highest: float, unit: str) -> Check[float]:
    """Return a check for a number of some unit, above `lowest` and at most `highest`."""

    def check(value: Any, where: str) -> float:
        if type(value) not in (int, float) or not lowest < value <= highest:
            raise ConfigError(f"{where} must be a number of {unit} above {lowest:g}, at most {highest:g}")
        return float(value)

    return check


def check_path(value: Any, where: str) -> Path:
    """Return an absolute path; whether there is a file is not looked at."""
    found = Path(check_text(value, where))
    if not found.is_absolute():
        raise ConfigError(f"{where} must be an absolute path, not {quoted(str(found))}")
    return found


def check_url(value: Any, where: str) -> str:
    """Return an address without a password, and without the slash at its end."""
    text = check_text(value, where)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(each.isspace() for each in text):
        raise ConfigError(f"{where} must be an address that begins with http:// or https://")
    if "@" in parts.netloc:
        # The text may be a password, so no part of it is repeated.
        raise ConfigError(f"{where} must not contain a user or a password, because every page shows it")
    return text.rstrip("/")
