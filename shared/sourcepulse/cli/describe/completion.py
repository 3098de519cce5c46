# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Print the completion script of a shell, for example `source <(sourcepulse completion bash)` in ~/.bashrc."""

from __future__ import annotations

import argparse

from sourcepulse.cli.describe import completion_scripts as completion
from sourcepulse.cli.describe.command_tree import read_tree
from sourcepulse.cli.main import build_parser
from sourcepulse.errors import EXIT_OK

HELP = "print the completion script of a shell"

_WRITERS = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `completion`."""
    parser.add_argument("shell", choices=tuple(_WRITERS), help=f"{', '.join(_WRITERS)}")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(_WRITERS[args.shell](read_tree(build_parser())), end="")
    return EXIT_OK
