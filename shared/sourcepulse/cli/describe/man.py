# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Print the man page: read it with `sourcepulse man | man -l -`, or write it into man1/sourcepulse.1 of a man path."""

from __future__ import annotations

import argparse

from sourcepulse import __version__
from sourcepulse.cli.describe.command_tree import read_tree
from sourcepulse.cli.describe.man_page import man_page
from sourcepulse.cli.main import build_parser
from sourcepulse.errors import EXIT_OK

HELP = "print the man page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command has this signature
    """Print the page as roff."""
    print(man_page(read_tree(build_parser()), __version__), end="")
    return EXIT_OK
