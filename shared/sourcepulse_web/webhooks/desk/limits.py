# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How many hooks there may be, how long a former secret is of use, and where a bearer token may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from urllib.parse import urlsplit

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.settings import WebhookSettings

#: How long the former secret signs as well.
OLD_SECRET_SECONDS = 86_400.0


def check_room(former: Collection[Hook], added: Collection[Hook], settings: WebhookSettings) -> None:
    """Raise ConfigError if the added hooks would make more than the settings allow, of one owner or of all."""
    if added and len(former) + len(added) > settings.hooks_max:
        raise ConfigError(f"there may be {settings.hooks_max} webhooks; remove one, or raise hooks_max in [webhooks]")
    counts = Counter(hook.owner for hook in (*former, *added))
    for owner in {hook.owner for hook in added if hook.owner}:
        if counts[owner] > settings.owner_hooks_max:
            raise ConfigError(
                f"{owner} may have {settings.owner_hooks_max} webhooks; remove one, or raise owner_hooks_max in "
                "[webhooks]"
            )


def check_bearer(former: Hook, hook: Hook) -> None:
    """Raise ConfigError if the bearer token of an admin would go to another scheme, host or port."""
    if former.bearer_file and urlsplit(former.url)[:2] != urlsplit(hook.url)[:2]:
        raise ConfigError(
            "this webhook sends a bearer token that an admin configured, so only an admin can change the host of its "
            "URL; ask one, or add another webhook"
        )
