# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The webhooks of a gateway: its sender, and what is known of them for /ready and /metrics."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from sourcepulse.config import ENVIRONMENT_PREFIX, URLS, Config
from sourcepulse.errors import ConfigError
from sourcepulse_web.process.hook_figures import Reader
from sourcepulse_web.process.sender_child import Launch, SenderChild
from sourcepulse_web.services import HookFigures, HooksState
from sourcepulse_web.settings import WebSettings
from sourcepulse_web.webhooks.place import Place, store_of

#: How often the sender is looked at, and the figures are read.
LOOK_SECONDS = 0.25
FIGURES_SECONDS = 2.0
#: Figures that are older mean that reading them hangs, and nothing of the sender.
FRESH_SECONDS = 15.0
#: A sender that has not turned for so long after its start, although nothing is known to be wrong, is named.
START_SECONDS = 30.0
#: What the service manager passes to the gateway, which alone reports to it.
MANAGER_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

logger = logging.getLogger(__name__)


class Hooks:
    """The webhooks of one gateway, in the thread of the reactor.

    >>> hooks = Hooks(reactor, config, settings, log=path)
    >>> hooks.start()
    >>> hooks.state().sender_up
    True
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        settings: Callable[[], WebSettings],
        *,
        log: Path,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._log = log
        self._clock = clock
        self._reader = Reader(self.place)
        self._figures = HookFigures()
        self._read_at = -FRESH_SECONDS
        self._on_since: float | None = None
        self._child = SenderChild(
            reactor, wanted=lambda: launch_of(config, settings(), log, verbose=verbose), seen_at=self._seen_at
        )

    def start(self) -> None:
        """Start the sender if hooks are on, and look after it from now on."""
        LoopingCall(self._look).start(LOOK_SECONDS)
        LoopingCall(self._read).start(FIGURES_SECONDS)

    def end(self) -> Deferred[None]:
        """End the sender; fires when it has ended."""
        self._reader.close()
        return self._child.end()

    def place(self) -> Place:
        """Return where the hooks are; ConfigError while they are off."""
        now = self._settings()
        if now.webhooks is None:
            raise ConfigError("webhooks are off here")
        return Place(
            settings=now.webhooks, log=self._log, exchange=now.exchange, store=store_of(now.webhooks, self._log)
        )

    def state(self) -> HooksState:
        """Return what is known of the hooks at this moment."""
        if self._settings().webhooks is None:
            return HooksState()
        return HooksState(
            is_on=True,
            sender_up=self._child.is_up and not self._child.trouble,
            sender_starts=self._child.starts,
            sender_problem=self._sender_problem(),
            sender_doubt=self._child.doubt,
            figures=self._figures,
        )

    def _sender_problem(self) -> str:
        problem = self._child.problem or self._child.trouble
        if problem or self._child.is_up or self._on_since is None:
            return problem
        waited = self._clock() - self._on_since
        return f"the sender of webhooks was not at work since {waited:.0f} s" if waited > START_SECONDS else ""

    def _look(self) -> None:
        if self._settings().webhooks is None or self._child.is_up:
            self._on_since = None
        elif self._on_since is None:
            self._on_since = self._clock()
        self._child.look()

    def _read(self) -> Deferred[None] | None:
        if self._settings().webhooks is None:
            self._figures = HookFigures()
            return None

        def done(figures: HookFigures) -> None:
            self._figures, self._read_at = figures, self._clock()

        def failed(failure: Failure) -> None:
            # Reading goes on, and the failure is seen.
            logger.error("the figures of the webhooks cannot be read: %s", failure.getErrorMessage())

        return deferToThread(self._reader.read).addCallbacks(done, failed)

    def _seen_at(self) -> float | None:
        return self._figures.sender_seen_at if self._clock() - self._read_at < FRESH_SECONDS else None


def launch_of(config: Config, settings: WebSettings, log: Path, *, verbose: bool = False) -> Launch | None:
    """Return how the sender is started, with the settings of the gateway; None while hooks are off.

    What the gateway got as options the sender gets in its environment, which only the same user can read: a URL may
    have a password.
    """
    if settings.webhooks is None or config.origin is None:
        return None
    command = [sys.executable, "-P", "-m", "sourcepulse.cli", "webhook", "run", "--until-eof", "--log", str(log)]
    command += ["--config", str(config.origin.file)] if config.origin.file is not None else []
    command += ["--verbose"] if verbose else []
    environ = _environ(config.origin.environ, config.origin.arguments)
    return Launch(tuple(command), environ, settings.webhooks)


def _environ(environ: Mapping[str, str], options: Mapping[str, object]) -> dict[str, str]:
    found = {name: value for name, value in environ.items() if name not in MANAGER_VARIABLES}
    for name in URLS:
        forms = (name, f"{name}_file")
        if any(form in options for form in forms):
            # An option replaces both forms.
            for form in forms:
                found.pop(f"{ENVIRONMENT_PREFIX}{form.upper()}", None)
    return found | {f"{ENVIRONMENT_PREFIX}{name.upper()}": str(value) for name, value in options.items()}
