# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep secrets out of events: Buildbot's own secrets, credentials in URLs, values that look like secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sourcepulse.events.redaction import REDACTED, SENSITIVE, redact_urls

_SECRET_PROPERTY = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])_){SENSITIVE}(?:$|[^a-z])")


#: Values of these types are published as they are.
PLAIN = frozenset({int, bool, type(None)})
#: A shorter secret would match everywhere, and what is redacted would then reveal it.
SECRET_LEAST_CHARACTERS = 6


class Redactor:
    """Knows the secrets of one master; what it has learned it never forgets.

    The reactor learns and the writer's thread reads; they share only objects that are replaced whole.
    """

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Remove these values from all later events; short ones are ignored because they are common words."""
        known = self._secrets.union(secret for secret in secrets if len(secret.strip()) >= SECRET_LEAST_CHARACTERS)
        if len(known) > len(self._secrets):
            # The longest first, because one secret may be the beginning of another.
            longest_first = sorted(known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))
            self._secrets = known

    def text(self, text: str) -> str:
        """Return a text without secrets and encodable as UTF-8."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        if self._pattern is not None:
            text = self._pattern.sub(REDACTED, text)
        return redact_urls(text)

    def value(self, value: Any) -> Any:
        """Return a value as JSON can hold it, with secrets removed from every text."""
        if isinstance(value, str):
            return self.text(value)
        if type(value) in PLAIN or isinstance(value, int):
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
        """Return the value of a property, hidden if the name looks secret, even if the settings ask for it."""
        return REDACTED if looks_secret(name) else self.value(value)


def looks_secret(name: str) -> bool:
    """Return whether the name of a property suggests a secret value: `deploy_token` does, `monkey` does not."""
    return _SECRET_PROPERTY.search(name) is not None
