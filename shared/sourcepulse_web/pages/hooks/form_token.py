# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Form tokens: what a page of another site does not have, so that it cannot send a form in the name of a reader."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

#: A form that was loaded earlier must be loaded again.
VALID_SECONDS = 86_400
#: How many tokens that were used are remembered, until they expire; beyond that no form is accepted.
USED_MAX = 100_000
_NONCE_BYTES = 9


class FormTokens:
    """Makes and checks tokens. Each is for one user, one purpose, one day, and for one use.

    >>> tokens = FormTokens(time.time)
    >>> tokens.use(tokens.make("alice", "rotate chat-room"), "alice", "rotate chat-room")
    True

    The key is that of the process: a form that was open while the gateway started again is refused.
    """

    def __init__(self, clock: Callable[[], float], key: bytes | None = None) -> None:
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        #: Token -> when it expires.
        self._used: dict[str, float] = {}

    def make(self, user: str, purpose: str) -> str:
        """Return a new token."""
        head = f"{int(self._clock()) + VALID_SECONDS:x}.{secrets.token_urlsafe(_NONCE_BYTES)}"
        return f"{head}.{self._mac(head, user, purpose)}"

    def use(self, token: str, user: str, purpose: str) -> bool:
        """Return whether the token is good, which it is once."""
        head, _, mac = token.rpartition(".")
        if not token.isascii() or not hmac.compare_digest(mac, self._mac(head, user, purpose)):
            return False
        now, expires = self._clock(), int(head.partition(".")[0], 16)
        if len(self._used) >= USED_MAX:
            self._used = {each: at for each, at in self._used.items() if at >= now}
        if expires < now or head in self._used or len(self._used) >= USED_MAX:
            return False
        self._used[head] = expires
        return True

    def _mac(self, head: str, user: str, purpose: str) -> str:
        # Neither a user nor a purpose has a line break.
        text = "\n".join([head, user, purpose]).encode()
        return hmac.new(self._key, text, "sha256").hexdigest()
