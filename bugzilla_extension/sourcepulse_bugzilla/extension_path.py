# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Print the path of the extension's folder, to be linked into Bugzilla's `extensions/`."""

from __future__ import annotations

import argparse
from pathlib import Path

from sourcepulse.errors import EXIT_OK

HELP = "print the path of the Bugzilla extension, to link it as extensions/SourcePulse"

_NAME = "SourcePulse"


def extension_path() -> Path:
    """Return the folder with the extension's Config.pm: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / _NAME
    return installed if installed.is_dir() else package.parent / _NAME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Accept no options."""


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - every command has this signature
    """Print the path."""
    print(extension_path())
    return EXIT_OK
