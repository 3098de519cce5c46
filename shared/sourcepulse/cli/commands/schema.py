# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""List the event types, or print the JSON Schema of the data of one, with --example a whole event.

With --asyncapi it prints all types as one AsyncAPI document.
"""

from __future__ import annotations

import argparse
import json

from sourcepulse.catalogue import STATUS_SCHEMA, example_of, known_types, schema_for
from sourcepulse.catalogue.asyncapi import document
from sourcepulse.cli.common import add_json, print_json, print_table
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse.events.wire import encode

#: What `emit` takes besides the types that have a schema of their own.
STATUS_TYPES = "system.<service>.<state>.v1"

HELP = "list the event types, or print the JSON Schema of one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schema`."""
    parser.add_argument("type", nargs="?", metavar="TYPE", help="e.g. hg.push.v1, or hg.push for its newest version")
    parser.add_argument("--example", action="store_true", help="an event of the type as a consumer receives it")
    parser.add_argument("--asyncapi", action="store_true", help="all types as one AsyncAPI 3 document")
    add_json(parser, "the list as one JSON object per line; a schema and an event are JSON anyway")


def run(args: argparse.Namespace) -> int:
    """Print the types, a schema, an event or the document of all."""
    if args.asyncapi and (args.type is not None or args.example):
        raise ConfigError("--asyncapi prints all types; leave out TYPE and --example")
    if args.type is not None:
        shown = json.loads(encode(example_of(args.type))) if args.example else schema_for(args.type)
        print(json.dumps(shown, indent=2))
        return EXIT_OK
    if args.asyncapi:
        from sourcepulse import __version__

        print(json.dumps(document(__version__), indent=2))
        return EXIT_OK
    if args.example:
        raise ConfigError("name the type of the example, such as hg.push; `sourcepulse schema` lists the types")
    types = [(name, schema_for(name)["title"]) for name in known_types()]
    types.append((STATUS_TYPES, schema_for(STATUS_SCHEMA)["title"]))
    if args.json:
        for name, title in types:
            print_json({"type": name, "title": title})
    else:
        print_table(("TYPE", "MEANING"), types)
    return EXIT_OK
