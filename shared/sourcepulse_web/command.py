# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Serve what happens on the bus to browsers: streams that resume, a live page, and the board of each tree."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from sourcepulse.cli.common import add_settings
from sourcepulse.errors import ConfigError
from sourcepulse_web.settings import LISTEN

HELP = "serve events, a live page and the board of each tree to browsers"

#: What the extra `web` installs.
NEEDED = ("twisted", "jinja2")
SETTINGS = (
    "broker", "broker_file", "exchange", "restricted_broker", "restricted_broker_file", "restricted_exchange",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `web`."""
    add_settings(parser, *SETTINGS)
    parser.add_argument("--listen", metavar="ADDRESS:PORT", help=f"where browsers connect to (default: {LISTEN})")
    parser.add_argument("--log", metavar="FILE", help="the gateway's own log; not where the broker is a log")
    parser.add_argument("--queue", metavar="NAME", help="the durable queue at the broker (default: USER.web-HOST)")
    parser.add_argument(
        "--restricted", action="store_true", help="serve the restricted exchange, behind the site's authentication"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the gateway needs {' and '.join(missing)}, which is not installed: "
            "pip install '.[web]' in the clone of sourcepulse"
        )
    from sourcepulse_web.process.gateway import serve

    return serve(args)
