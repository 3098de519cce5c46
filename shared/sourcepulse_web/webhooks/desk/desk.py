# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a user or an admin does with hooks, for the command and for the pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from sourcepulse.brokers import bounded_socket
from sourcepulse.errors import ConfigError, NothingThereError, SourcePulseError, quoted
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.webhooks.desk.card import Card
from sourcepulse_web.webhooks.desk.cards import Cards
from sourcepulse_web.webhooks.desk.doubts import joined, topics_doubt
from sourcepulse_web.webhooks.desk.entries import Entry
from sourcepulse_web.webhooks.desk.importing import Imported, import_entries
from sourcepulse_web.webhooks.desk.limits import OLD_SECRET_SECONDS, Limits
from sourcepulse_web.webhooks.desk.looking_up import look_up
from sourcepulse_web.webhooks.desk.redelivery import Redelivery, find_set_aside, redeliver_failed, redeliver_one
from sourcepulse_web.webhooks.desk.resuming import begin_again, resume
from sourcepulse_web.webhooks.desk.sights import Sights
from sourcepulse_web.webhooks.errors import QueueMissingError, UnknownHookError
from sourcepulse_web.webhooks.hook import (
    PAUSED,
    PAUSED_BY_ADMIN,
    Attempt,
    Handshake,
    Hook,
    Standing,
    State,
    check_name,
    check_owner,
    check_topics,
)
from sourcepulse_web.webhooks.post.address import Lookup
from sourcepulse_web.webhooks.post.bearer import read_token
from sourcepulse_web.webhooks.post.signature import key_of, new_secret
from sourcepulse_web.webhooks.post.url import check_url
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Matches, SetAside
from sourcepulse_web.webhooks.store.store import HookStore

ATTEMPTS = 20
#: A sender that was seen so long ago does not run.
SENDER_SECONDS = 10.0
#: Until the sender begins a test, and records what came of it.
TEST_WAIT_SECONDS = 5.0
_SENDER_BACK = "`sourcepulse doctor` names why, and `sourcepulse web` starts it where none runs"


class Added(NamedTuple):
    """The secret of a new hook, which is shown once, and what may be wrong, or ""."""

    secret: str
    doubt: str

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Added(doubt={self.doubt!r})"


class Desk:
    """Any thread may call it. With `owner=` a call sees that owner's hooks only; None is the admin, who sees all.

    Every call raises UnknownHookError where there is no such hook, and the same where it is of another owner. What the
    store or the log raises passes through.

    >>> desk = Desk(store, queues, settings)
    >>> secret, doubt = desk.add("chat-room", "https://chat.example.org/in/7", ["hg.tree.#"], owner="alice@example.org")
    >>> desk.show("chat-room", owner="alice@example.org").look
    <Look.WORKING: 'working'>
    """

    def __init__(
        self,
        store: HookStore,
        queues: HookQueues,
        settings: WebhookSettings,
        clock: Callable[[], float] = time.time,
        lookup: Lookup = bounded_socket.resolve,
        own_types: Collection[str] = (),
        trees: Mapping[str, TreeSettings] | None = None,
    ) -> None:
        self._store = store
        self._queues = queues
        self._settings = settings
        self._clock = clock
        self._lookup = lookup
        self._own_types = own_types
        self._cards = Cards(store, queues, clock, Sights(store, queues, trees))
        self._limits = Limits(store, settings)

    def add(
        self,
        name: str,
        url: str,
        topics: Sequence[str],
        *,
        owner: str = "",
        handshake: Handshake = Handshake.OFF,
        bearer_file: str = "",
        secret: str | None = None,
    ) -> Added:
        """Register a hook, from the events of now on, and return its secret.

        ConfigError if a value is wrong, the name is in use, there are too many hooks, or an admin paused one of this
        owner and address; AddressRefusedError if the host has an address that may not be reached. `bearer_file` and
        `secret` are for admins.
        """
        hook = Hook(
            name=check_name(name),
            url=check_url(url, self._settings).url,
            topics=check_topics(topics),
            owner=check_owner(owner),
            handshake=handshake,
            bearer_file=bearer_file,
        )
        if secret is not None:
            key_of(secret)
        if bearer_file:
            read_token(bearer_file)
        # First, so that no name is looked up in vain; it is checked again in the transaction that adds it.
        self._limits.check_new(hook, self._store.hooks())
        doubt = joined(self.look_up(hook.url), self.topics_doubt(hook.topics))
        secret = secret or new_secret()
        # A process that is killed between these two leaves a hook whose queue the sender declares.
        self._store.add(hook, secret, self._clock(), check=partial(self._limits.check_new, hook))
        try:
            self._queues.declare(hook)
        except SourcePulseError:
            self._store.remove(hook.name)
            raise
        return Added(secret, doubt)

    def look_up(self, url: str) -> str:
        """Return a sentence if the host of a URL is not found now, else ""; raises what forbids the URL."""
        return look_up(url, self._settings, lookup=self._lookup)

    def topics_doubt(self, topics: Sequence[str]) -> str:
        """Return a sentence about topics that match no event type, else ""."""
        return topics_doubt(topics, self._own_types)

    def list(self, owner: str | None = None) -> list[Card]:
        """Return the hooks by name, without their attempts."""
        return self._cards.all(owner)

    def show(self, name: str, *, owner: str | None = None, attempts: int = ATTEMPTS, before: int | None = None) -> Card:
        """Return a hook with its newest attempts, or those before a number, and what is set aside."""
        return self._cards.whole(name, owner, attempts, before)

    def test(self, name: str, *, owner: str | None = None) -> int:
        """Ask the sender to POST a test event at once, and return the number for `test_result`.

        ConfigError for an owner whose hook an admin paused.
        """
        hook = self._cards.hook(name, owner)
        return self._store.ask_test(hook.name, self._clock(), check=lambda: self._limits.check_pause(hook, owner))

    def test_seconds(self, name: str) -> float:
        """Return how long a test lasts at most: its POST, and before it the question for consent."""
        asks = self._cards.hook(name, None).handshake is not Handshake.OFF
        return TEST_WAIT_SECONDS + self._settings.post_seconds * (2 if asks else 1)

    def test_result(self, number: int) -> Attempt | None:
        """Return what came of a test; None while there is nothing yet."""
        return self._store.test_result(number)

    def sender_runs(self) -> bool:
        """Return whether the sender of this store was seen within the last seconds."""
        seen = self._store.sender_seen_at()
        return seen is not None and self._clock() - seen < SENDER_SECONDS

    def check_sender(self, name: str) -> None:
        """Raise NothingThereError, with what to do, if the sender was not seen lately; first if there is no hook."""
        self._cards.hook(name, None)
        if self.sender_runs():
            return
        if self._store.sender_seen_at() is None:
            raise NothingThereError(
                "the sender does not run, so nothing is POSTed; `sourcepulse web` starts it where the configuration "
                "has the table [webhooks]"
            )
        raise NothingThereError(f"the sender does not answer, so no test was asked for; {_SENDER_BACK}")

    def check_test(self, name: str) -> None:
        """Raise NothingThereError if the sender, which was asked for a test, was not seen lately, as `check_sender`."""
        self._cards.hook(name, None)
        if not self.sender_runs():
            raise NothingThereError(f"the sender does not answer; the test waits until it does; {_SENDER_BACK}")

    def pause(self, name: str, *, owner: str | None = None) -> None:
        """POST nothing until `resume`; events go on being stored.

        A hook that does not send anyway stays as it is, unless an admin pauses it: then its owner can neither resume,
        test nor remove it, and tests that are not sent yet never are.
        """
        hook = self._cards.hook(name, owner)
        now = self._clock()

        def pause(was: Standing) -> Standing:
            if owner is None:
                return replace(was, state=State.PAUSED, reason=PAUSED_BY_ADMIN, since=now)
            return replace(was, state=State.PAUSED, reason=PAUSED, since=now) if was.state is State.ON else was

        self._store.update_standing(hook.name, pause)
        self._store.wake_sender()

    def resume(self, name: str, *, owner: str | None = None) -> None:
        """POST again what waits, at once, also what was being tried again.

        For a failing hook this is one more try: the refusals of an event go on being counted, and it is set aside no
        sooner. For one that did not send, and in any case the failed tries of the hook itself, all begins again.
        ConfigError for an owner whose hook an admin paused.
        """
        hook = self._cards.hook(name, owner)
        with self._store.batch(durable=True):
            self._limits.check_pause(hook, owner)
            resume(self._store, hook.name, self._clock())
        self._store.wake_sender()

    def redeliver(
        self,
        name: str,
        id: str | None = None,  # noqa: A002 - an event's word
        *,
        failed: bool = False,
        since: float | None = None,
        owner: str | None = None,
    ) -> Redelivery:
        """POST events again, with the webhook-id they had: one, all that are set aside, or those since a time.

        `id` is the id of an event, a webhook-id or the number of an attempt; `since` is in seconds since 1970.
        NothingThereError if no event of this hook is meant.
        """
        hook = self._cards.hook(name, owner)
        if failed:
            return redeliver_failed(self._queues, hook.name)
        if since is not None:
            if since > self._clock():
                raise ConfigError("no event is from a time that is still to come; name an earlier one")
            return Redelivery(self._queues.since(hook.name, since))
        if id is None:
            raise ConfigError("name an event by its id, or ask for all that is set aside, or those since a time")
        return redeliver_one(self._store, self._queues, hook.name, id)

    def drop(self, name: str, letter: int | str, *, owner: str | None = None) -> SetAside:
        """Delete one event that is set aside, for good, by its number or the id of the event, and return it."""
        hook = self._cards.hook(name, owner)
        event = find_set_aside(self._queues, hook.name, letter)
        if not self._queues.drop(hook.name, event.letter):
            raise NothingThereError(f"{quoted(event.id)} is not set aside any more")
        return event

    def rotate(self, name: str, *, now: bool = False, owner: str | None = None) -> str:
        """Return a new secret; the former one signs as well for OLD_SECRET_SECONDS, or not at all with `now`."""
        hook = self._cards.hook(name, owner)
        secret, at = new_secret(), self._clock()
        self._store.rotate(hook.name, secret, at if now else at + OLD_SECRET_SECONDS, at)
        return secret

    def edit(
        self,
        name: str,
        *,
        url: str | None = None,
        topics: Sequence[str] | None = None,
        new_owner: str | None = None,
        handshake: Handshake | None = None,
        bearer_file: str | None = None,
        owner: str | None = None,
    ) -> str:
        """Change what is not None, and return what may be wrong with a new URL or new topics, else "".

        Of changed topics, later events are meant. Another URL is tried at once. ConfigError if an owner would send the
        bearer token, which an admin configured, to another place, or get round an admin's pause by another URL.
        """
        former = self._cards.hook(name, owner)
        hook = replace(
            former,
            url=former.url if url is None else check_url(url, self._settings).url,
            topics=former.topics if topics is None else check_topics(topics),
            owner=former.owner if new_owner is None else check_owner(new_owner),
            handshake=former.handshake if handshake is None else handshake,
            bearer_file=former.bearer_file if bearer_file is None else bearer_file,
        )
        if hook.url != former.url:
            self._limits.check_move(former, hook, owner)
        if bearer_file:
            read_token(bearer_file)
        doubt = self._doubt(former, hook)
        self._store.change(hook, check=partial(self._limits.check_changed, former, hook, owner))
        if topics is not None:
            try:
                self._queues.rebind(hook)
            except QueueMissingError:
                # The sender declares it, by the store.
                pass
            except SourcePulseError:
                self._store.change(former)
                raise
        if hook.url != former.url:
            with self._store.batch(durable=True):
                begin_again(self._store, hook.name)
            self._store.wake_sender()
        return doubt

    def remove(self, name: str, *, owner: str | None = None) -> None:
        """Remove a hook with its secrets, its attempts and all that waits or is set aside.

        ConfigError for an owner whose hook an admin paused: he would add it again, and it would send.
        """
        try:
            self._limits.check_pause(self._cards.hook(name, owner), owner)
        except UnknownHookError:
            # A process that was killed may have left the queue.
            if owner is not None or not self._queues.figures(name).is_declared:
                raise
        self._store.remove(name)
        self._queues.remove(name)

    def matches(self, topics: Sequence[str]) -> Matches:
        """Return how many events of the last 24 hours match some topics."""
        return self._cards.matches(topics)

    def import_hooks(self, entries: Sequence[Entry], *, replace_known: bool = False) -> Imported:
        """Register the hooks of a file, all or none, for the admin; with `replace_known`, change those that exist."""
        found = import_entries(
            self._store,
            self._queues,
            self._settings,
            entries,
            replace_known=replace_known,
            now=self._clock(),
            lookup=self._lookup,
        )
        doubts = [f"{each.hook.name}: {doubt}" for each in entries if (doubt := self.topics_doubt(each.hook.topics))]
        return found._replace(doubts=[*found.doubts, *doubts])

    def _doubt(self, former: Hook, hook: Hook) -> str:
        """Return what may be wrong with what was changed."""
        return joined(
            self.look_up(hook.url) if hook.url != former.url else "",
            self.topics_doubt(hook.topics) if hook.topics != former.topics else "",
        )
