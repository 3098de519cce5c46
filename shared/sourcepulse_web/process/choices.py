# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a gateway serves and from where: the broker, the queue, the exchange and the log, from options and files."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import TABLES, Config
from sourcepulse.errors import ConfigError
from sourcepulse_web.bridge.bridge import Source, default_queue
from sourcepulse_web.bridge.own_log import open_private
from sourcepulse_web.settings import WebSettings, web_settings
from sourcepulse_web.webhooks.settings import check_ca_file

#: Where the unit keeps it; `StateDirectory=` of a unit of your own wins.
STATE_FOLDER = "/var/lib/sourcepulse-web"
STATE_VARIABLE = "STATE_DIRECTORY"
LOG_NAME = "log.db"


def settings_of(config: Config, args: argparse.Namespace) -> WebSettings:
    """Return the settings of the tables of a file, with the options, which win; ConfigError if they are wrong."""
    exchange = config.require("restricted_exchange" if args.restricted else "exchange")
    if not args.restricted and exchange == config.text("restricted_exchange"):
        raise ConfigError(
            f"the exchange {exchange} has restricted events; serve them with --restricted, behind the site's "
            "authentication, and never from the gateway of public ones"
        )
    log = None if args.log is None else str(Path(args.log).absolute())
    options = {"listen": args.listen, "log": log, "queue": args.queue}
    try:
        found = web_settings(
            config.table("web"),
            config.table("trees"),
            options,
            exchange=exchange,
            restricted=args.restricted,
            schemas_dir=config.text("schemas_dir"),
            # An empty table is enough to switch webhooks on.
            webhooks=config.values.get("webhooks"),
        )
        if found.webhooks is not None:
            check_ca_file(found.webhooks)
    except ConfigError as error:
        # Where the error names a table, the others have nothing to do with it.
        named = [each for each in TABLES if f"[{each}]" in str(error) or f"[{each}." in str(error)]
        files = config.sources(named or TABLES)
        # An option is where the admin sees it.
        raise error if str(error).startswith("--") or not files else ConfigError(f"{error} ({files})") from None
    return found


def broker_of(config: Config, *, restricted: bool) -> BrokerUrl:
    """Return the broker whose events are served; ConfigError says how to name it."""
    prefix = "restricted_" if restricted else ""
    return config.broker(prefix) or BrokerUrl.parse(config.require(f"{prefix}broker"))


def source_of(config: Config, settings: WebSettings) -> Source:
    """Return what the bridge reads; it needs the right to declare the queue."""
    url = broker_of(config, restricted=settings.restricted)
    queue = settings.queue or default_queue(url, socket.gethostname(), restricted=settings.restricted)
    return Source(url, settings.exchange, queue)


def log_path(broker: BrokerUrl, settings: WebSettings, environ: Mapping[str, str]) -> Path:
    """Return the log that is served: the broker itself, or the gateway's own."""
    if broker.scheme == "file":
        if settings.log is not None:
            raise ConfigError(f"the broker {broker} is a log, and the gateway serves it as it is; leave --log out")
        return Path(broker.path)
    path = settings.log or Path(environ.get(STATE_VARIABLE) or STATE_FOLDER) / LOG_NAME
    if not path.parent.is_dir():
        raise ConfigError(f"the folder of the gateway's log {path} does not exist; create it, or set --log FILE")
    return path


def prepare_log(path: Path, settings: WebSettings, *, own: bool) -> None:
    """Create the log if it is missing, a private one for the bridge; ConfigError if it has another exchange's events.

    Positions of a log that has events of both exchanges would count restricted events.
    """
    (open_private(path) if own else LogFile(path)).close()
    with closing(LogReader(path, settings.exchange)) as reader:
        check_exchanges(reader, path, settings)


def check_exchanges(reader: LogReader, path: Path, settings: WebSettings) -> None:
    """Raise ConfigError if the log has events of another exchange than that of the settings."""
    others = [name for name in reader.exchanges() if name != settings.exchange]
    if others:
        hint = "" if settings.restricted else "; restricted ones need --restricted and a log of their own"
        raise ConfigError(
            f"the log {path} has events of the exchange {others[0]}, and this gateway serves {settings.exchange}{hint}"
        )
