# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Register the hooks of a file: all are checked first, then all are stored in one transaction, or none."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse_web.webhooks.desk.entries import Entry
from sourcepulse_web.webhooks.desk.limits import OLD_SECRET_SECONDS, check_room
from sourcepulse_web.webhooks.desk.looking_up import look_up
from sourcepulse_web.webhooks.desk.resuming import begin_again
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.hook import Hook, Standing, State
from sourcepulse_web.webhooks.post.address import Lookup
from sourcepulse_web.webhooks.post.bearer import read_token
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.post.url import check_url
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore

#: For the addresses of all hooks of a file together.
LOOK_UP_ALL_SECONDS = 60.0
NAMES_SHOWN = 5


class Imported(NamedTuple):
    """How many hooks are new and how many changed, the secrets made by name, and sentences about receivers."""

    new: int
    updated: int
    made: Mapping[str, str]
    doubts: Sequence[str]
    #: The new hooks that are not on, by name, each with its state and why.
    not_on: Mapping[str, str]

    def __repr__(self) -> str:
        """Return it without the secrets."""
        return f"Imported(new={self.new}, updated={self.updated}, doubts={self.doubts!r})"


def import_entries(
    store: HookStore,
    queues: HookQueues,
    settings: WebhookSettings,
    entries: Sequence[Entry],
    *,
    replace_known: bool,
    now: float,
    lookup: Lookup,
) -> Imported:
    """Check all entries, then store all of them; nothing is stored if one is wrong."""
    known = {hook.name: hook for hook in store.hooks()}
    hooks = {hook.name: hook for hook in _checked(entries, known, settings, replace_known=replace_known)}
    doubts = _look_up(hooks, known, settings, lookup)
    made: dict[str, str] = {}
    with store.batch(durable=True):
        # Again, because others may have added hooks since.
        check_room([hook for hook in store.hooks() if hook.name not in hooks], list(hooks.values()), settings)
        for entry in entries:
            name = entry.hook.name
            if name in known:
                _change(store, hooks[name], entry.secret, now)
                continue
            secret = entry.secret or new_secret()
            store.add(hooks[name], secret, now)
            # In the same transaction, so that no sender sees it on.
            store.set_standing(name, Standing(state=entry.state, reason=entry.reason, since=now))
            if entry.secret is None:
                made[name] = secret
    new = [hook for name, hook in hooks.items() if name not in known]
    try:
        for hook in new:
            queues.declare(hook)
    except SourcePulseError:
        for hook in new:
            store.remove(hook.name)
        raise
    for name in known.keys() & hooks.keys():
        with suppress(QueueMissingError):
            # Also where the topics are the same, so that repeating the command repairs what a kill left.
            queues.rebind(hooks[name])
    return Imported(len(new), len(hooks) - len(new), made, doubts, _not_on(entries, known))


def _not_on(entries: Sequence[Entry], known: Collection[str]) -> dict[str, str]:
    return {
        entry.hook.name: f"{entry.state.value}, because {entry.reason}"
        for entry in entries
        if entry.hook.name not in known and entry.state is not State.ON
    }


def _change(store: HookStore, hook: Hook, given: str | None, now: float) -> None:
    former = store.hook(hook.name)
    store.change(hook)
    if given is not None and given != store.secrets(hook.name)[0].value:
        store.rotate(hook.name, given, now + OLD_SECRET_SECONDS, now)
    if former is not None and former.url != hook.url:
        begin_again(store, hook.name)


def _checked(
    entries: Sequence[Entry], known: Mapping[str, Hook], settings: WebhookSettings, *, replace_known: bool
) -> list[Hook]:
    """Return the hooks with their URLs as they are stored."""
    used = [entry.hook.name for entry in entries if entry.hook.name in known]
    if used and not replace_known:
        more = f" and {len(used) - NAMES_SHOWN} more" if len(used) > NAMES_SHOWN else ""
        raise ConfigError(
            f"these webhooks exist already: {', '.join(used[:NAMES_SHOWN])}{more}; --replace updates them, and nothing "
            "was stored"
        )
    found: list[Hook] = []
    for entry in entries:
        with _naming(entry.hook.name):
            found.append(replace(entry.hook, url=check_url(entry.hook.url, settings).url))
            if entry.hook.bearer_file:
                read_token(entry.hook.bearer_file)
    names = {hook.name for hook in found}
    check_room([hook for name, hook in known.items() if name not in names], found, settings)
    return found


def _look_up(
    hooks: Mapping[str, Hook], known: Mapping[str, Hook], settings: WebhookSettings, lookup: Lookup
) -> list[str]:
    """Return the doubts about the hosts of new URLs."""
    deadline = time.monotonic() + LOOK_UP_ALL_SECONDS
    doubts = []
    for name, hook in hooks.items():
        if name not in known or known[name].url != hook.url:
            with _naming(name):
                doubts.append(look_up(hook.url, settings, deadline, lookup))
    return [doubt for doubt in doubts if doubt]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the hook in an error of one of many."""
    try:
        yield
    except SourcePulseError as error:
        raise type(error)(f"{name}: {error}; nothing was stored") from None
