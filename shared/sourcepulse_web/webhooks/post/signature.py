# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Signatures of Standard Webhooks 1.0.0: HMAC-SHA256 over the id, the time and the exact bytes of the body.

The specification is spec/standard-webhooks.md of https://github.com/standard-webhooks/standard-webhooks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as random_source
from collections.abc import Sequence

from sourcepulse.errors import ConfigError

SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = 32
#: What the specification allows.
SECRET_MIN_BYTES = 24
SECRET_MAX_BYTES = 64
ID_PREFIX = "msg_"
ID_DIGITS = 32


def new_secret() -> str:
    """Return a new random secret, `whsec_` and 32 bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(random_source.token_bytes(SECRET_BYTES)).decode("ascii")


def key_of(secret: str) -> bytes:
    """Return the bytes of a secret; ConfigError, without the secret, if it is none of Standard Webhooks."""
    wrong = (
        f"the secret of a webhook must be {SECRET_PREFIX} and {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} random bytes in "
        "base64"
    )
    if not secret.startswith(SECRET_PREFIX):
        raise ConfigError(wrong)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(wrong) from None
    if not SECRET_MIN_BYTES <= len(key) <= SECRET_MAX_BYTES:
        raise ConfigError(wrong)
    return key


def sign(secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each secret, so that a receiver may know either.

    >>> sign(["whsec_" + "A" * 32], "msg_1", 1614265330, b"{}")
    'v1,ONjOH+g8tKQOwBW/l2Ew8DI7ahP5iygTrq4r12BiJXg='
    """
    if not secrets:
        raise ConfigError("the webhook has no secret; rotate it")
    signed = f"{webhook_id}.{timestamp}.".encode("ascii") + body
    return " ".join(f"v1,{_mac(key_of(secret), signed)}" for secret in secrets)


def webhook_id_of(source: str, id_: str) -> str:
    """Return the `webhook-id` of an event: the same for every attempt, also after a restart or a redelivery."""
    return ID_PREFIX + hashlib.sha256(f"{source}\n{id_}".encode()).hexdigest()[:ID_DIGITS]


def _mac(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")
