# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run a reporter's relay as soon as the URL of its broker is known: a secret provider may not have it yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildbot.process.properties import Properties
from twisted.internet import defer, task, threads

from sourcepulse import config as core_config
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError
from sourcepulse.relay.thread import RelayThread
from sourcepulse_buildbot.live.name_watch import NameWatch
from sourcepulse_buildbot.settings import Settings

#: How long a provider may take to answer.
ANSWER_LIMIT_SECONDS = 10.0
#: When a provider that did not have the secret is asked again.
AGAIN_SECONDS = 60.0


class Relaying:
    """Relays the events of the outbox until stopped.

    The broker of the settings may be a renderable. While it cannot be rendered, the last URL is used; without one,
    events wait in the outbox. `warn` is called once for each new reason.
    """

    def __init__(self, master: Any, settings: Settings, *, warn: Callable[[str], None]) -> None:
        self._master = master
        self._settings = settings
        self._warn = warn
        #: The URL that the relay uses.
        self._url: str | None = None
        self._relay: RelayThread | None = None
        self._names: NameWatch | None = None
        self._one_at_a_time = defer.DeferredLock()
        self._again = task.LoopingCall(self._look)
        self._again.clock = master.reactor
        self._is_looking = self._is_stopped = False
        self._reason = ""

    def start(self, *, after: Relaying | None) -> None:
        """Start with the URL of the previous one if the broker is the same; a secret provider is not waited for."""
        broker = self._settings.broker
        if broker.value is None or self._settings.relay == "none":
            return
        if isinstance(broker.value, str):
            self._relay_to(broker.value)
            return
        if after is not None and after._url is not None and after._settings.broker == broker:
            self._relay_to(after._url)
        self._again.start(AGAIN_SECONDS)

    def look_again(self) -> None:
        """Ask now for a secret, which was missing or may have changed."""
        if self._again.running:
            self._look()
        elif self._url is not None and not isinstance(self._settings.broker.value, str):
            self._again.start(AGAIN_SECONDS)

    async def stop(self) -> None:
        """Stop within seconds; the broker is not waited for."""
        self._is_stopped = True
        if self._again.running:
            self._again.stop()
        await self._one_at_a_time.run(defer.ensureDeferred, self._end_relay())

    def _look(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            defer.ensureDeferred(self._find_broker())

    async def _find_broker(self) -> None:
        broker, reason = await self._rendered()
        self._is_looking = False
        if self._is_stopped:
            return
        if broker is not None:
            self._reason = ""
            if self._again.running:
                self._again.stop()
            await self._one_at_a_time.run(defer.ensureDeferred, self._switch_to(broker))
        elif reason != self._reason:
            self._reason = reason
            meanwhile = "events wait in the outbox" if self._url is None else "the last known URL is used"
            self._warn(
                f"{self._settings.name}: broker: {reason}; {meanwhile}, and the secret is asked for "
                f"again at each reconfig and every {AGAIN_SECONDS:.0f} s"
            )

    async def _switch_to(self, broker: str) -> None:
        if broker != self._url:
            await self._end_relay()
            if not self._is_stopped:
                self._relay_to(broker)

    async def _end_relay(self) -> None:
        if self._names is not None:
            self._names.stop()
        if self._relay is not None:
            await threads.deferToThread(self._relay.stop)

    async def _rendered(self) -> tuple[str | None, str]:
        """Return the URL, or the reason why there is none."""
        properties = Properties()
        properties.master = self._master
        rendering = defer.maybeDeferred(properties.render, self._settings.broker.value)
        try:
            broker = await rendering.addTimeout(ANSWER_LIMIT_SECONDS, self._master.reactor)
            if not isinstance(broker, str):
                return None, f"the secret must be a text, not {type(broker).__name__}"
            BrokerUrl.parse(broker)
        except ConfigError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001 - providers are of any kind, and their messages may contain the secret
            return None, _why(error)
        return broker, ""

    def _relay_to(self, broker: str) -> None:
        self._url = broker
        values = {"broker": broker} | {
            each: getattr(self._settings, each) for each in ("exchange", "format", "metrics_file", "heartbeat_s")
        }
        self._relay = RelayThread(Path(self._settings.outbox), core_config.load(values, environ={}), warn=self._warn)
        self._relay.start()
        hosts = [host for host, _ in BrokerUrl.parse(broker).hosts]
        self._names = NameWatch(hosts, warn=self._warn)
        self._names.start()


def _why(error: BaseException | None) -> str:
    while isinstance(error, defer.FirstError):
        # Interpolate renders its parts at the same time.
        error = error.subFailure.value
    if isinstance(error, KeyError) and "secret" in str(error):
        # Buildbot raises this for a missing secret, with its name.
        return f"{error.args[0]}; add it to a provider of c['secretsProviders']"
    if isinstance(error, defer.TimeoutError):
        return f"no secret provider answered within {ANSWER_LIMIT_SECONDS:.0f} s"
    return f"the secret provider failed with {type(error).__name__}"
