# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin decides about all webhooks, with the defaults: where they lead, and when an event is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

KEEP_DAYS = 7.0
#: Of HTTPS and HTTP.
PORTS = (443, 80)
HOOKS_MAX = 200
OWNER_HOOKS_MAX = 20
#: Where a proxy may connect from whose header names the user.
PROXIES = ("127.0.0.1", "::1")
POST_SECONDS = 15.0
RETRY_SECONDS = (0.0, 5.0, 300.0, 1800.0)
POISON_TRIES = 5
POISON_SECONDS = 600.0
POISON_AGAIN_SECONDS = 60.0
PARK_SECONDS = 72 * 3600.0
RETRY_AFTER_MAX_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an event is tried again, set aside, and when its hook is parked."""

    #: The pauses after the first, the second and each further failure; the last one is repeated.
    retry_s: tuple[float, ...] = RETRY_SECONDS
    #: An event is set aside after so many refusals, over at least this time.
    poison_tries: int = POISON_TRIES
    poison_s: float = POISON_SECONDS
    #: The time for an event that is refused as one before it was, where the receiver accepts others.
    poison_again_s: float = POISON_AGAIN_SECONDS
    #: A hook is parked after this time without success.
    park_s: float = PARK_SECONDS
    #: A longer Retry-After is cut to this.
    retry_after_max_s: float = RETRY_AFTER_MAX_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """The table `[webhooks]` of the configuration file.

    >>> WebhookSettings(allow=("chat.internal", "127.0.0.1:8065"), origin="tree.example.org")
    """

    #: The hook store; None for `webhooks.db` beside the gateway's log.
    file: Path | None = None
    keep_days: float = KEEP_DAYS
    #: Hosts that may be private, at any port, without TLS; with a port (`chat.internal:8065`) only at that one.
    allow: tuple[str, ...] = ()
    ports: tuple[int, ...] = PORTS
    #: Whether http is accepted for every host; else only for those in `allow`.
    http: bool = False
    #: A certificate authority of the site, beside those of the system.
    ca_file: Path | None = None
    hooks_max: int = HOOKS_MAX
    owner_hooks_max: int = OWNER_HOOKS_MAX
    #: The header in which a trusted proxy names the user, such as X-Remote-User; None for no user pages.
    proxy_header: str | None = None
    proxies: tuple[str, ...] = PROXIES
    #: Where a Bugzilla's sidecar is asked whether an event is still public.
    bugzilla_outbox: Path | None = None
    #: The name of this system in WebHook-Request-Origin; None where there is no handshake.
    origin: str | None = None
    post_seconds: float = POST_SECONDS
    schedule: Schedule = field(default_factory=Schedule)
