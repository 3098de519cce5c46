# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""List the event types, or print the JSON Schema of the data of one, with --example a whole event.

With --asyncapi it prints all types as one AsyncAPI document. Types of your own are those in the folder `schemas_dir`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sourcepulse.catalogue import example_of, schema_for
from sourcepulse.catalogue.asyncapi import document
from sourcepulse.catalogue.description import describe, sources
from sourcepulse.catalogue.own_types import Schemas, own_type, read_own_types
from sourcepulse.cli.common import add_json, add_settings, print_json, print_table, settings
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse.events.wire import encode

HELP = "list the event types, or print the JSON Schema of one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schema`."""
    add_settings(parser, "schemas_dir")
    parser.add_argument("type", nargs="?", metavar="TYPE", help="e.g. hg.push.v1, or hg.push for its newest version")
    parser.add_argument("--example", action="store_true", help="an event of the type as a consumer receives it")
    parser.add_argument("--asyncapi", action="store_true", help="all types as one AsyncAPI 3 document")
    add_json(parser, "the list as one JSON object per line; a schema and an event are JSON anyway")


def run(args: argparse.Namespace) -> int:
    """Print the types, a schema, an event or the document of all."""
    if args.asyncapi and (args.type is not None or args.example):
        raise ConfigError("--asyncapi prints all types; leave out TYPE and --example")
    folder = settings(args).text("schemas_dir")
    own = {} if folder is None else read_own_types(Path(folder))
    if args.type is not None:
        print(json.dumps(_shown(own, args.type, example=args.example), indent=2))
        return EXIT_OK
    if args.asyncapi:
        from sourcepulse import __version__

        print(json.dumps(document(__version__, own), indent=2))
        return EXIT_OK
    if args.example:
        raise ConfigError("name the type of the example, such as hg.push; `sourcepulse schema` lists the types")
    described = (describe(name, own) for source in sources(own) for name in source.types)
    types = [(about.shown, about.title) for about in described]
    if args.json:
        for name, title in types:
            print_json({"type": name, "title": title})
    else:
        print_table(("TYPE", "MEANING"), types)
    return EXIT_OK


def _shown(own: Schemas, type_: str, *, example: bool) -> Any:
    full = own_type(own, type_)
    if not example:
        return own[full] if full else schema_for(type_)
    if full:
        raise ConfigError(f"{full} is a type of your own; its examples are in its schema: `sourcepulse schema {full}`")
    return json.loads(encode(example_of(type_)))
