# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What owners may do: how many hooks, where a bearer token may go, and what is theirs while an admin paused a hook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from urllib.parse import urlsplit

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.desk.addresses import is_same_address
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.store import HookStore

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
                f"the owner {owner} may have {settings.owner_hooks_max} webhooks; remove one, or raise "
                "owner_hooks_max in [webhooks]"
            )


class Limits:
    """Raises ConfigError for what an owner may not do; `owner` is who asks, None for an admin, who may.

    >>> limits.check_pause(hook, "alice@example.org")
    """

    def __init__(self, store: HookStore, settings: WebhookSettings) -> None:
        self._store = store
        self._settings = settings

    def check_new(self, hook: Hook, others: Collection[Hook]) -> None:
        """Raise it where there are too many hooks, or an admin paused one of the same owner and address."""
        check_room(others, [hook], self._settings)
        self._check_address(hook, others)

    def check_changed(self, former: Hook, hook: Hook, owner: str | None, others: Collection[Hook]) -> None:
        """Raise it where the changed hook would be one too many, or be in the place of one that an admin paused."""
        if hook.owner != former.owner:
            check_room(others, [hook], self._settings)
        if owner is not None and hook.url != former.url:
            self._check_address(hook, others)

    def check_pause(self, hook: Hook, owner: str | None) -> None:
        """Raise it where an admin paused the hook: its owner cannot do what would end that, or send all the same."""
        if owner is not None and self._store.standing(hook.name).is_paused_by_admin:
            raise ConfigError(
                f"an admin paused the webhook {hook.name}, so only an admin can resume it; until then its owner can "
                "neither test nor remove it, nor change its address; ask one"
            )

    def check_move(self, former: Hook, hook: Hook, owner: str | None) -> None:
        """Raise it where an admin paused the hook, or its bearer token would go to another scheme, host or port."""
        self.check_pause(former, owner)
        if owner is not None and former.bearer_file and urlsplit(former.url)[:2] != urlsplit(hook.url)[:2]:
            raise ConfigError(
                "this webhook sends a bearer token that an admin configured, so only an admin can change the host of "
                "its URL; ask one, or add another webhook"
            )

    def _check_address(self, hook: Hook, others: Collection[Hook]) -> None:
        # Also an admin who adds one for this owner resumes the other one instead.
        standings = self._store.standings() if hook.owner else {}
        for each in others:
            is_paused = each.name in standings and standings[each.name].is_paused_by_admin
            if is_paused and each.owner == hook.owner and is_same_address(each.url, hook.url):
                raise ConfigError(
                    f"an admin paused the webhook {each.name}, which leads to the same address, so nothing is sent "
                    "there until an admin resumes it; ask one"
                )
