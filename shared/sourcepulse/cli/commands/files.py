# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Print the paths of the files that come with the package: broker configurations, systemd units, documentation."""

from __future__ import annotations

import argparse
from pathlib import Path

import sourcepulse
from sourcepulse.cli.common import add_json, print_json
from sourcepulse.errors import EXIT_OK, NothingThereError

HELP = "print the paths of the deploy files and the documentation"

#: Where they are relative to the package: in a wheel, and in a checkout.
_PLACES = ("files", "..")
_KINDS = ("deploy", "docs", "docs/examples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `files`."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="print only the path of this file, such as activemq.xml"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print one path, or all of them, one per line."""
    found = shipped_files()
    if args.name is not None:
        found = [path for path in found if path.name == args.name]
        if not found:
            raise NothingThereError(f"no file {args.name!r} comes with the package; `sourcepulse files` lists them all")
    for path in found:
        print_json({"name": path.name, "path": str(path)}) if args.json else print(path)
    return EXIT_OK


def shipped_files() -> list[Path]:
    """List the files that come with the package."""
    package = Path(sourcepulse.__file__).resolve().parent
    for place in _PLACES:
        folders = [(package / place / kind).resolve() for kind in _KINDS]
        if all(folder.is_dir() for folder in folders):
            return sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    raise NothingThereError(f"the files that come with the package are not beside {package}")
