# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse hg-path`: print the path for `[extensions]` that an hg outside this environment needs."""

from __future__ import annotations

import argparse

from sourcepulse.errors import EXIT_OK
from sourcepulse_hg.commands.demo_parts import extension_path

HELP = "print the path to load the Mercurial extension from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command has this signature
    print(extension_path())
    return EXIT_OK
