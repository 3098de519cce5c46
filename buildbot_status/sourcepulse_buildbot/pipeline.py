# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The whole path from bus to outbox, built from settings; a new pipeline takes over from the previous one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import defer, task, threads
from twisted.logger import Logger

from sourcepulse.events.redaction import redact_urls
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_buildbot.directory import Directory, Known
from sourcepulse_buildbot.live.build import LiveBuilds
from sourcepulse_buildbot.live.bus import Subscription, Tap
from sourcepulse_buildbot.live.intake import Intake
from sourcepulse_buildbot.live.log_tail import LogTails
from sourcepulse_buildbot.live.observer import Observer
from sourcepulse_buildbot.live.presence import Presence
from sourcepulse_buildbot.live.requests import Requests
from sourcepulse_buildbot.live.steps import Steps
from sourcepulse_buildbot.live.used_secrets import UsedSecrets, read_names, write_names
from sourcepulse_buildbot.live.wanted import Choices
from sourcepulse_buildbot.mapping.builds import NEEDED_PROPERTIES
from sourcepulse_buildbot.mapping.emitter import Emitter
from sourcepulse_buildbot.mapping.redaction import Redactor
from sourcepulse_buildbot.mapping.rows import seconds_of
from sourcepulse_buildbot.recovery.build import RecoveredBuilds
from sourcepulse_buildbot.recovery.mark import Mark, last_stored_at, read_mark, write_mark
from sourcepulse_buildbot.recovery.search import Recovery, Store, search_since
from sourcepulse_buildbot.relaying import Relaying
from sourcepulse_buildbot.settings import Settings
from sourcepulse_buildbot.writer import Fact, Writer

#: How often Buildbot's database is compared with what was published.
RECOVER_SECONDS = 60.0
#: A row younger than this may still be on its way over the bus.
GRACE_SECONDS = 30
#: After this long without a sign of life, Buildbot considers a master dead.
MASTER_DEAD_SECONDS = 600
#: How long the starting master waits for the first comparison, which then continues in the background.
START_LIMIT_SECONDS = 20.0

log = Logger("sourcepulse")


class Pipeline:
    """Receives, stores and relays for one reporter until stopped."""

    def __init__(self, master: Any, settings: Settings) -> None:
        self._master = master
        self._settings = settings
        self._reactor = master.reactor
        self._clock: Callable[[], float] = master.reactor.seconds
        self._scope = settings.scope
        self._mark: Mark | None = None
        #: Messages since this time may not have been stored; None if all were.
        self._suspect_since: float | None = None
        self._recovering = False
        #: A row that cannot be read is met again at every search, but logged only once.
        self._logged: set[str] = set()
        self._first: defer.Deferred[None] | None = None
        #: Fires when the previous pipeline has stored everything that it received.
        self._taken_over: defer.Deferred[None] = defer.Deferred()
        self._again = task.LoopingCall(self._recover_again)
        self._again.clock = self._reactor
        redactor = Redactor()
        self._writer = Writer(
            lambda: Outbox.open(Path(settings.outbox), private=True, clock=time.time),
            _emitter(master, settings, redactor),
            warn=self._warn,
        )
        self._relaying = Relaying(master, settings, warn=self._warn)
        self._intake = Intake(self._writer, self._reactor, missed=self._missed)
        self._secrets = UsedSecrets(master, redactor, keep=self._keep_secrets)
        self.presence = Presence(
            master.masterid,
            all_masters=settings.master is not None,
            name=settings.master,
            changed=self._keep_presence,
        )
        properties = settings.properties.union(NEEDED_PROPERTIES, *settings.normalized.values())
        self._live = LiveBuilds(master.botmaster, properties)
        self._directory = Directory(master.data, properties, master.botmaster)
        self._choices = Choices(settings.selection, self._directory, scope=self._scope, known=self._known)
        self._requests = Requests(master.data, self._directory, settings.selection, self._choices)
        tails = LogTails(master.data, settings.log_tail_bytes)
        self._steps = self._new_steps(tails)
        self._observer = self._new_observer()
        # Only with the simple bus does every received message come from this master.
        hear = Subscription if master.config.mq["type"] == "simple" else Tap
        self._bus = hear(master.mq, self._observer.handlers())
        self._recovery = self._new_recovery(tails)

    def _new_steps(self, tails: LogTails) -> Steps:
        return Steps(
            data=self._master.data,
            directory=self._directory,
            live=self._live,
            intake=self._intake,
            selection=self._settings.selection,
            secrets=self._secrets,
            tails=tails,
            missed=self._missed,
            clock=self._clock,
        )

    def _new_observer(self) -> Observer:
        return Observer(
            directory=self._directory,
            live=self._live,
            intake=self._intake,
            selection=self._settings.selection,
            choices=self._choices,
            requests=self._requests,
            steps=self._steps,
            secrets=self._secrets,
            presence=self.presence,
            missed=self._missed,
            alone=self._settings.master is None,
            clock=self._clock,
        )

    def _new_recovery(self, tails: LogTails) -> Recovery:
        data, selection = self._master.data, self._settings.selection
        return Recovery(
            data=data,
            directory=self._directory,
            selection=selection,
            choices=self._choices,
            requests=self._requests,
            builds=RecoveredBuilds(data, self._directory, selection, tails),
            scope=self._scope,
            store=Store(put=self._writer.put_found, ask=self._ask),
            others=self._other_masters,
            begun=self._begun,
            passed_over=self._passed_over,
        )

    async def start(self, *, after: Pipeline | None) -> None:
        """Receive first, then end the previous pipeline, then recover what was missed; new messages wait meanwhile."""
        self._writer.start()
        if after is not None:
            self.presence = self._observer.presence = after.presence
            self.presence.changed = self._keep_presence
            self._live.remember(after._live)
        recovered: defer.Deferred[None] = defer.Deferred()
        self._intake.add_later(self._recover_first(recovered, went_on=after is not None), limit_s=None)
        await self._bus.start()
        if after is not None:
            await after.stop()
        self._taken_over.callback(None)
        recovered.callback(None)
        self._relaying.start(after=after._relaying if after is not None else None)
        if not self._writer.in_trouble:
            self._first = self._intake.drained(START_LIMIT_SECONDS)
            await self._first
        self._again.start(RECOVER_SECONDS, now=False)

    async def stop(self) -> None:
        """Stop receiving and store what was received; never raises, and ends within seconds."""
        await self._bus.stop()
        if self._again.running:
            self._again.stop()
        await self._intake.drained()
        if self._mark is not None:
            mark = self._mark._replace(presence=self.presence.at_the_end())
            self._writer.run(lambda outbox: write_mark(outbox, self._scope, mark), lambda _: None)
        await threads.deferToThread(self._writer.stop)
        await self._relaying.stop()

    def look_for_broker(self) -> None:
        """Ask a secret provider again for the URL of the broker, which it did not have or which may have changed."""
        self._relaying.look_again()

    # -- recovery

    async def _recover_first(self, begin: defer.Deferred[None], *, went_on: bool) -> Sequence[Fact]:
        await begin
        await self._directory.load_names()
        await self._secrets.recall(await self._ask(lambda outbox: read_names(outbox, self._scope)))
        await self._recover_after_a_stop(went_on=went_on, is_handed_over=went_on)
        return ()

    async def _recover_after_a_stop(self, *, went_on: bool, is_handed_over: bool = False) -> None:
        mark = await self._ask(lambda outbox: read_mark(outbox, self._scope))
        now = int(self._clock())
        if mark is None:
            # Whatever precedes the first start is history, which no consumer waits for.
            mark = Mark(at=now, changeid=await self._recovery.last_change(), presence={})
            search = search_since(mark, until=now, changes_until=-1, suspect_after=now)._replace(since=now + 1)
            await self._recovery.run(search)
        else:
            if not went_on:
                for fact in self.presence.after_a_stop(mark.presence, now):
                    self._writer.put(fact)
            # The previous pipeline received everything to the end, so a build whose end is stored has no late messages.
            stored_at = float("inf") if is_handed_over else await self._ask(last_stored_at)
            until = now - GRACE_SECONDS if self._live.running() else now
            last_change = await self._recovery.last_change()
            search = search_since(mark, until=until, changes_until=last_change, suspect_after=stored_at or 0)
            await self._recovery.run(search)
            mark = Mark(at=until, changeid=last_change, presence=self.presence.state)
        await self._put_mark(mark)

    async def _recover_now(self, mark: Mark) -> None:
        suspect_since, self._suspect_since = self._suspect_since, None
        until = int(self._clock()) - GRACE_SECONDS
        last_change = await self._recovery.last_change()
        suspect = float("inf") if suspect_since is None else suspect_since
        try:
            # A change younger than the last comparison may still be on its way.
            search = search_since(mark, until=until, changes_until=mark.changeid, suspect_after=suspect)
            unowned = suspect_since is not None or await self._speaks_for_others(search.since)
            await self._recovery.run(search._replace(unowned=unowned))
        except Exception:
            self._suspect_since = suspect_since
            raise
        await self._put_mark(Mark(at=until, changeid=last_change, presence=self.presence.state))

    def _recover_again(self) -> None:
        # The first search is still in progress, or it failed.
        mark = self._mark
        if self._recovering or (mark is None and not self._intake.is_free):
            return
        self._recovering = True

        def done(result: Any) -> None:
            self._recovering = False
            if result is not None:
                log.failure("missed events could not be searched for", result)

        again = self._recover_after_a_stop(went_on=True) if mark is None else self._recover_now(mark)
        defer.ensureDeferred(again).addBoth(done)

    async def _put_mark(self, mark: Mark) -> None:
        await self._ask(lambda outbox: write_mark(outbox, self._scope, mark))
        self._mark = mark

    def _keep_presence(self) -> None:
        if self._mark is not None:
            self._mark = mark = self._mark._replace(presence=self.presence.state)
            self._writer.run(lambda outbox: write_mark(outbox, self._scope, mark), lambda _: None)

    def _keep_secrets(self, names: list[str]) -> None:
        self._writer.run(lambda outbox: write_names(outbox, self._scope, names), lambda _: None)

    def _begun(self, known: Known, buildrequestid: int) -> Sequence[Fact]:
        self._directory.begin(known, buildrequestid)
        return self._steps.early_facts(known.ref.buildid)

    async def _speaks_for_others(self, since: int) -> bool:
        """Return whether this master should publish rows without an owner: it runs alone, or another died recently."""
        if self._settings.master is None:
            return True
        masters = await self._master.data.get(("masters",))
        return any(
            not row["active"] and (seconds_of(row["last_active"]) or 0) >= since - MASTER_DEAD_SECONDS
            for row in masters
        )

    async def _other_masters(self) -> frozenset[int]:
        if self._settings.master is None:
            return frozenset()
        masters = await self._master.data.get(("masters",))
        return frozenset(row["masterid"] for row in masters if row["active"]) - {self._master.masterid}

    def _passed_over(self, sentence: str) -> None:
        if sentence not in self._logged:
            self._logged.add(sentence)
            log.warn("{sentence}", sentence=sentence)

    def _missed(self, reason: str) -> None:
        if self._suspect_since is None:
            log.warn("{reason}; what is missing will be recovered from Buildbot's database", reason=reason)
            self._suspect_since = self._clock() - RECOVER_SECONDS

    # -- parts

    async def _known(self, ids: Sequence[str]) -> set[str]:
        await self._taken_over
        known: set[str] = await self._ask(lambda outbox: outbox.known(ids))
        return known

    def _ask(self, work: Callable[[Outbox], Any]) -> defer.Deferred[Any]:
        answer: defer.Deferred[Any] = defer.Deferred()

        def done(result: Any) -> None:
            _in_reactor(answer.errback if isinstance(result, Exception) else answer.callback, result)

        self._writer.run(work, done)
        return answer

    def _warn(self, sentence: str) -> None:
        _in_reactor(self._log_warning, sentence)

    def _log_warning(self, sentence: str) -> None:
        log.warn("{sentence}", sentence=sentence)
        # A master starts even if the outbox cannot be written.
        if self._writer.in_trouble and self._first is not None and not self._first.called:
            self._first.callback(None)


def _in_reactor(call: Callable[[Any], object], argument: Any) -> None:
    """Call this in the master's thread; the fake reactor of Buildbot's tests has no threads."""
    # Imported at module level, this would choose the reactor before twistd does.
    from twisted.internet import reactor

    reactor.callFromThread(call, argument)


def _emitter(master: Any, settings: Settings, redactor: Redactor) -> Emitter:
    return Emitter(
        source=settings.source,
        scope=settings.scope,
        url=redact_urls(master.config.buildbotURL or ""),
        redactor=redactor,
        properties=settings.properties,
        normalized=settings.normalized,
        max_bytes=settings.max_event_bytes,
    )
