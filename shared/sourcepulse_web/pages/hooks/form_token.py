# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Form tokens: what a page of another site does not have, so that it cannot send a form in the name of a reader."""

from __future__ import annotations

import hmac
import secrets
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

#: A form that was loaded earlier must be loaded again.
VALID_SECONDS = 86_400
#: How many tokens that were used are remembered of one user, the newest: until they expire, or so many later ones.
USER_USED_MAX = 500
_NONCE_BYTES = 9


class _Used(NamedTuple):
    """The tokens that one user used, and when the last of them was used."""

    heads: deque[str]
    at: float


class FormTokens:
    """Makes and checks tokens. Each is for one user, one purpose, one day, and for one use.

    >>> tokens = FormTokens(time.time)
    >>> tokens.use(tokens.make("alice", "rotate chat-room"), "alice", "rotate chat-room")
    True

    The key is that of the process, so a form that was open while the gateway started again is refused. A key in a file
    would spare the reader that, but which tokens were used would be forgotten all the same, and a page that is loaded
    again would do twice what it did. What is refused comes back filled in, with a token of now; see `Changed`.
    """

    def __init__(self, clock: Callable[[], float], key: bytes | None = None) -> None:
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        #: User -> the tokens that he used, and when he last used one; the users in the order of that.
        self._used: dict[str, _Used] = {}

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
        used = self._used.get(user)
        if expires < now or (used is not None and head in used.heads):
            return False
        heads = deque[str](maxlen=USER_USED_MAX) if used is None else used.heads
        heads.append(head)
        # Put back as the last user.
        self._used.pop(user, None)
        self._used[user] = _Used(heads, now)
        self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        """Forget the users whose tokens have all expired: they are the first."""
        while self._used:
            user, used = next(iter(self._used.items()))
            if used.at + VALID_SECONDS >= now:
                return
            del self._used[user]

    def _mac(self, head: str, user: str, purpose: str) -> str:
        # Neither a user nor a purpose has a line break.
        text = "\n".join([head, user, purpose]).encode()
        return hmac.new(self._key, text, "sha256").hexdigest()
