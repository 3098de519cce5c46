# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Shared by the commands: settings from arguments, the outbox of the current directory, output."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import DEFAULT_FILES, FILE_VARIABLE, KEYS, URLS, Config, check_value, load
from sourcepulse.errors import BrokerError, ConfigError, SourcePulseError
from sourcepulse.events.safe_text import plain
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.relay import is_relayed

#: Where the Mercurial hook keeps its outbox unless configured otherwise.
REPOSITORY_OUTBOX = Path(".hg/sourcepulse/outbox.db")

#: Longer than any useful wait, and short enough for every wait function of the system.
MOST_SECONDS = 366 * 86_400.0

logger = logging.getLogger(__name__)


def add_settings(parser: argparse.ArgumentParser, *keys: str, reads_default_files: bool = True) -> None:
    """Add `--config` and one option for each named setting; without default files it reads only what is named."""
    default = f" (default: {DEFAULT_FILES})" if reads_default_files else ""
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"TOML file with settings{default}")
    parser.set_defaults(reads_default_files=reads_default_files)
    for key in keys:
        parser.add_argument(f"--{key.replace('_', '-')}", dest=key, metavar=_metavar(key), help=_help(key))


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_: str
) -> argparse.ArgumentParser:
    """Return the parser of a new action of a command; `-v` is understood before and behind the action."""
    parser = actions.add_parser(name, help=help_, description=f"{help_[:1].upper()}{help_[1:]}.")
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="log more to stderr")
    return parser


def settings(args: argparse.Namespace) -> Config:
    """Read the settings of this run and log a warning for each that looks unsafe."""
    given = {
        key: check_value(key, value, "the arguments") for key in KEYS if (value := getattr(args, key, None)) is not None
    }
    uses = [key for key in KEYS if hasattr(args, key)]
    config = load(
        given, file=args.config, default_files=args.default_files if args.reads_default_files else (), uses=uses
    )
    args.explain = partial(_sources, config, uses)
    warnings = []
    for key, parse in URLS.items():
        if key in given and parse(given[key]).has_password:
            option = key.removeprefix("restricted_").replace("_", "-")
            warnings.append(f"every user of this machine can see a password on the command line; use --{option}-file")
    log_once(args, *warnings, *config.warnings)
    return config


def log_once(args: argparse.Namespace, *sentences: str, level: int = logging.WARNING) -> None:
    """Log each sentence that this run has not logged yet; a service that waits reads its settings again and again."""
    logged = vars(args).setdefault("logged", set())
    for sentence in sentences:
        if sentence not in logged:
            logged.add(sentence)
            logger.log(level, "%s", sentence)


def _sources(config: Config, uses: Sequence[str], error: SourcePulseError) -> str:
    """Return where the settings behind an error were set; "" for arguments, which the user sees."""
    if os.environ.get(FILE_VARIABLE) == "":
        # A program passed them; the reader of its log did not choose them.
        return ""
    if isinstance(error, BrokerError):
        return config.sources([key for key in uses if key != "outbox"])
    outbox = config.text("outbox")
    return config.sources(["outbox"]) if outbox and outbox in str(error) else ""


def outbox_path(config: Config) -> Path:
    """Return the configured outbox, or that of the surrounding repository, which overrides a default file.

    ConfigError if there is neither.
    """
    if config.text("outbox") is None or config.is_from_default_file("outbox"):
        for directory in folders_from_here():
            if os.path.exists(directory / REPOSITORY_OUTBOX):  # noqa: PTH110 - False where we may not look
                return directory / REPOSITORY_OUTBOX
    return Path(config.require("outbox"))


def folders_from_here() -> tuple[Path, ...]:
    """Return the current folder and those around it, inner ones first; none if it was removed."""
    try:
        here = Path.cwd()
    except OSError:
        return ()
    return (here, *here.parents)


def required_broker(config: Config) -> BrokerUrl:
    """Return the broker of public events, or raise ConfigError that says how to set it."""
    return config.broker() or BrokerUrl.parse(config.require("broker"))


def open_outbox(config: Config, *, create: bool = False) -> Outbox:
    """Open the outbox of this run."""
    return Outbox.open(outbox_path(config), create=create)


def warn_if_unrelayed(config: Config, outbox: Outbox, what: str) -> None:
    """Log that something is pending and no relay runs, with the command that publishes it."""
    if not is_relayed(outbox.path):
        command = _relay_command(config, outbox.path)
        logger.warning("%s and no relay runs; a push starts one where the hook does that, else: %s", what, command)


def _relay_command(config: Config, outbox: Path) -> str:
    """Return the command that publishes what is pending; it names a broker only where no setting does."""
    words = ["sourcepulse", "relay", "--once", "--outbox", str(outbox.absolute())]
    if config.origin is not None and config.origin.file is not None:
        words += ["--config", str(config.origin.file.absolute())]
    return shlex.join(words) + ("" if _names_broker(config) else " --broker-file FILE")


def _names_broker(config: Config) -> bool:
    """Return whether a relay finds a broker in the settings, of which this command did not read all."""
    if config.origin is None:
        return config.broker() is not None
    try:
        return load(**config.origin._asdict() | {"uses": KEYS.keys()}).broker() is not None
    except ConfigError:
        # It is named, and this user may not read it.
        return True


def print_json(value: Any) -> None:
    """Write one JSON value as a line, in ASCII, so that it is the same in every locale."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


def add_json(parser: argparse._ActionsContainer, what: str = "one JSON object per line") -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help=what)


def add_apply(parser: argparse.ArgumentParser) -> None:
    """Add `--apply`."""
    parser.add_argument("--apply", action="store_true", help="do it; without this, only print what would be done")


def is_applied(args: argparse.Namespace, *, bulk: bool = True) -> bool:
    """Return whether to make a change; a change in bulk needs `--apply`, else the log says that nothing is changed."""
    if args.apply or not bulk:
        return True
    logger.warning("nothing was changed; with --apply it is")
    return False


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write aligned columns below their names, nothing for no rows; the texts are made harmless for a terminal."""
    lines = [[plain(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in [header, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def positive(text: str) -> int:
    """Parse a count for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def seconds(text: str) -> float:
    """Parse a duration in seconds for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {MOST_SECONDS:.0f}")
    return number


def moment(text: str) -> float:
    """Parse a duration until now (`2h`) or a time (RFC 3339) for argparse; return seconds since 1970."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    try:
        if text[-1:] in units:
            return time.time() - seconds(text[:-1]) * units[text[-1]]
        at = datetime.fromisoformat(text)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration, such as 90s, 30m, 2h or 7d, nor a time, such as 2026-11-29T08:00:00Z"
        ) from None
    # Without a zone it is that of this machine.
    return at.timestamp()


def _metavar(key: str) -> str:
    if key in URLS:
        return "URL"
    if key.endswith("_dir"):
        return "FOLDER"
    return "FILE" if key == "outbox" or key.endswith("_file") else "|".join(KEYS[key].choices) or "VALUE"


def _help(key: str) -> str:
    setting = KEYS[key]
    default = f" (default: {setting.default})" if setting.default is not None else ""
    return f"{setting.help}{default}"
