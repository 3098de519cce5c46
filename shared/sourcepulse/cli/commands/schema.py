# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""List the event types, or print the JSON Schema of one."""

from __future__ import annotations

import argparse
import json

from sourcepulse.catalogue import known_types, schema_for
from sourcepulse.errors import EXIT_OK

#: What `emit` takes besides the types that have a schema of their own.
STATUS_TYPES = "system.<service>.<state>.v1"

HELP = "list the event types, or print the JSON Schema of one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schema`."""
    parser.add_argument("type", nargs="?", metavar="TYPE", help="e.g. hg.push.v1, or hg.push for its newest version")


def run(args: argparse.Namespace) -> int:
    """Print the types, one per line, or a schema."""
    if args.type is None:
        print("\n".join([*known_types(), STATUS_TYPES]))
    else:
        print(json.dumps(schema_for(args.type), indent=2))
    return EXIT_OK
