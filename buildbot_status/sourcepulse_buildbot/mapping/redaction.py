# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep secrets out of events: what Buildbot knows as secret, credentials in URLs, values that look like secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sourcepulse.events.redaction import REDACTED, SENSITIVE, redact_urls

_SECRET_PROPERTY = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])_){SENSITIVE}(?:$|[^a-z])")


#: A shorter secret would be found everywhere, and would be known by what is missing.
SECRET_LEAST_CHARACTERS = 6


class Redactor:
    """Knows the secrets of one master; what it learned once it never forgets.

    The reactor learns, the writer's thread reads: both only exchange whole objects.
    """

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Take these values out of every event from now on; short ones are words of everybody."""
        known = self._secrets.union(secret for secret in secrets if len(secret.strip()) >= SECRET_LEAST_CHARACTERS)
        if len(known) > len(self._secrets):
            # The longest first, for one secret may be the beginning of another.
            longest_first = sorted(known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            self._secrets = known

    def text(self, text: str) -> str:
        """Return a text without secrets, as UTF-8 can say it."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return redact_urls(text)

    def value(self, value: Any) -> Any:
        """Return a value as JSON can say it, every text in it without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "replace"))
        return self.text(str(value))

    def property(self, name: str, value: Any) -> Any:
        """Return the value of a property; one whose name says that it is a secret is hidden though it was asked for."""
        return REDACTED if looks_secret(name) else self.value(value)


def looks_secret(name: str) -> bool:
    """Return whether the name of a property says that its value is a secret: `deploy_token`, not `monkey`."""
    return _SECRET_PROPERTY.search(name) is not None
