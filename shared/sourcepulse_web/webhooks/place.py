# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where the webhooks of a gateway are: its log, the hook store, the sender's outbox, by the configuration."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sourcepulse.catalogue.own_types import read_own_types
from sourcepulse.config import Config
from sourcepulse.errors import ConfigError
from sourcepulse_web.process.choices import broker_of, log_path, settings_of
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.webhooks.settings import TABLE, WebhookSettings

STORE_NAME = "webhooks.db"
#: Follows the name of the store, without its suffix.
OUTBOX_SUFFIX = "-outbox.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a command or the sender needs to find the webhooks of one gateway.

    >>> place = place_of(config, os.environ)
    >>> HookStore(place.store, create=False)
    """

    settings: WebhookSettings
    log: Path
    exchange: str
    store: Path
    #: Whether the log is the gateway's own, which is private, and not the broker.
    own_log: bool = True
    #: The event types of the site.
    own_types: Collection[str] = ()
    #: The trees of the configuration, by which bugs are linked.
    trees: Mapping[str, TreeSettings] = field(default_factory=dict)

    @property
    def outbox(self) -> Path:
        """Where events about hooks are until they are relayed."""
        return self.store.with_name(self.store.stem + OUTBOX_SUFFIX)


def place_of(
    config: Config, environ: Mapping[str, str], *, log: Path | None = None, store: Path | None = None
) -> Place:
    """Return where the webhooks of a configuration are; ConfigError if they are off or the settings are wrong.

    `log` is the log that the gateway serves, and `store` the hook store, where an option names them; else both follow
    from the configuration.
    """
    # Options of `web` that a command of webhooks lacks; what they say of the log is in `log`.
    options = argparse.Namespace(restricted=False, listen=None, log=None, queue=None)
    settings = settings_of(config, options)
    if settings.webhooks is None:
        raise ConfigError(f"webhooks are off; write the table {TABLE} into the configuration file of the gateway")
    path = log or log_path(broker_of(config, restricted=False), settings, environ)
    broker = config.broker()
    return Place(
        settings=settings.webhooks,
        log=path,
        exchange=settings.exchange,
        store=store or store_of(settings.webhooks, path),
        own_types=_own_types(settings.schemas_dir),
        trees=settings.trees,
        own_log=broker is None or broker.scheme != "file",
    )


def _own_types(folder: Path | None) -> Collection[str]:
    """Return the types of the site; none if they cannot be read, which the gateway and its catalogue report."""
    try:
        return () if folder is None else tuple(read_own_types(folder))
    except ConfigError:
        return ()


def store_of(settings: WebhookSettings, log: Path) -> Path:
    """Return the hook store: the one of the settings, or else beside the log."""
    return settings.file or log.with_name(STORE_NAME)
