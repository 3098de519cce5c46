# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Remove credentials from the fields of a bug that hold URLs; the text of comments is not changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.events.redaction import redact_urls

#: Fields of a bug, and of changes, that are URLs.
_URL_FIELDS = ("url", "see_also")


def without_credentials(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of an event with the URLs of its bug and of its changes redacted."""
    kept = dict(members)
    if "bug" in kept:
        kept["bug"] = {**kept["bug"], **{name: _redacted(kept["bug"][name]) for name in _URL_FIELDS}}
    if "changes" in kept:
        kept["changes"] = [_of_change(change) for change in kept["changes"]]
    return kept


def _of_change(change: Mapping[str, Any]) -> Mapping[str, Any]:
    if change["field_name"] not in _URL_FIELDS:
        return change
    return {**change, "removed": _redacted(change["removed"]), "added": _redacted(change["added"])}


def _redacted(value: Any) -> Any:
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return redact_urls(value) if isinstance(value, str) else value
