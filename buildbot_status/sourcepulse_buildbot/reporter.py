# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The reporter for master.cfg: publishes what a Buildbot master stores, exactly once per fact and in order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildbot import config
from buildbot.util.service import BuildbotService
from buildbot.warnings import ConfigWarning
from twisted.internet import defer
from twisted.logger import Logger

from sourcepulse_buildbot import master_check
from sourcepulse_buildbot.pipeline import Pipeline
from sourcepulse_buildbot.settings import Broker, Settings, read_settings

_OURS = "PulseStatusPush"

log = Logger("sourcepulse")


class PulseStatusPush(BuildbotService):
    """Publishes the events of this master; in master.cfg::

        from buildbot.plugins import reporters
        c['services'].append(reporters.PulseStatusPush(
            name="ci", outbox="outbox.db", broker="amqp://localhost"))

    Every event is first stored in the outbox, by a thread; the relay sends it from there whenever the broker can be
    reached. After a crash, missing events are recovered from Buildbot's database. The arguments are described in
    buildbot_status/README.md; `buildbot checkconfig` reports every mistake.
    """

    name = None
    _config_kwargs: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Buildbot requires a name before it checks anything else; without one, our own check reports what is missing.
        self._named = kwargs.get("name")
        kwargs.setdefault("name", type(self).__name__)
        self._pipeline: Pipeline | None = None
        super().__init__(*args, **kwargs)
        # Buildbot compares these arguments at a reconfig, and logs them if it fails.
        self._config_kwargs = {**self._config_kwargs, "broker": Broker(self._config_kwargs.get("broker"))}

    def checkConfig(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802 - the name that Buildbot calls
        """Report every mistake; nothing is opened and no provider is asked."""
        if args:
            config.error("PulseStatusPush needs keyword arguments: PulseStatusPush(name='ci', outbox='outbox.db')")
        settings = read_settings(_error, name=self._named, **kwargs)
        # checkconfig shows warnings; a disk that is not mounted yet must not keep a master from building.
        if kwargs.get("outbox") and (sentence := master_check.no_folder_here(settings.outbox)):
            warnings.warn(f"PulseStatusPush: {sentence}", ConfigWarning, stacklevel=2)

    @defer.inlineCallbacks
    def reconfigServiceWithSibling(self, sibling: Any) -> Any:  # noqa: N802 - the name that Buildbot calls
        """Adopt the settings of a new sibling; Buildbot itself does not store them, and would miss a change back."""
        yield super().reconfigServiceWithSibling(sibling)
        self._config_args, self._config_kwargs = sibling._config_args, sibling._config_kwargs
        # The rest of master.cfg may have changed even if these settings did not.
        for doubt in master_check.doubts(self._settings([], sibling._config_kwargs), self.master):
            log.warn("{name}: {doubt}", name=self.name, doubt=doubt)
        if self._pipeline is not None:
            self._pipeline.look_for_broker()

    @defer.inlineCallbacks
    def reconfigService(self, **kwargs: Any) -> Any:  # noqa: N802 - the name that Buildbot calls
        """Start, or switch to other settings: the new pipeline takes over before the old one ends.

        The broker may be a secret, which is rendered later, so that a provider that does not have it delays no build.
        """
        mistakes: list[str] = []
        settings = self._settings(mistakes, kwargs)
        mistakes += master_check.mistakes(settings, self, self.master)
        if mistakes:
            config.error("; ".join(mistakes))
        before, self._pipeline = self._pipeline, Pipeline(self.master, self._in_basedir(settings))
        yield defer.ensureDeferred(self._pipeline.start(after=before))

    @defer.inlineCallbacks
    def stopService(self) -> Any:  # noqa: N802 - the name that Buildbot calls
        """Store what is not stored yet, within seconds; the broker is not waited for."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            yield defer.ensureDeferred(pipeline.stop())
        yield super().stopService()

    def _settings(self, mistakes: list[str], arguments: Mapping[str, Any]) -> Settings:
        return read_settings(mistakes.append, name=self.name, **{**arguments, "broker": arguments["broker"].value})

    def _in_basedir(self, settings: Settings) -> Settings:
        return settings._replace(outbox=str(Path(self.master.basedir) / settings.outbox))


def _error(mistake: str) -> None:
    # Buildbot prints the mistakes of all services in one list.
    config.error(mistake if mistake.startswith(_OURS) else f"{_OURS}: {mistake}")
