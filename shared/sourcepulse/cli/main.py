# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The program `sourcepulse`: find the command, run it, and turn every error into one sentence and an exit code."""

from __future__ import annotations

import argparse
import difflib
import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType

from sourcepulse.config import DEFAULT_FILES, default_files
from sourcepulse.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, SourcePulseError

#: Where plugins offer commands of their own, each a module like those in `sourcepulse.cli.commands`.
ENTRY_POINT_GROUP = "sourcepulse.commands"

_COMMANDS = (
    "relay", "collect", "tail", "status", "outbox", "emit", "schema", "files", "check", "doctor", "dead-letters",
    "setup-broker", "queues",
)  # fmt: skip
_DESCRIBING = ("completion", "man")
_VERSION = "--version"
EXIT_CODES = {
    0: "success",
    1: "failure",
    2: "usage or configuration error",
    3: "timed out or nothing found",
    4: "the broker is unreachable or refuses us",
    5: "an event was refused and buried",
    6: "outbox locked or damaged",
    130: "interrupted",
}
#: Of `status --check`: the code UNKNOWN of monitoring plug-ins.
EXIT_PLUG_IN_USAGE = 3
_LINE_CODES = 4
_CODES = [f"{code} {meaning}" for code, meaning in EXIT_CODES.items()]
_EPILOG = f"""settings are read from {DEFAULT_FILES},
or from the file of --config or SOURCEPULSE_CONFIG instead; SOURCEPULSE_<KEY> overrides files, an option overrides both

exit codes: {", ".join(_CODES[:_LINE_CODES])},
{", ".join(_CODES[_LINE_CODES:])}"""


def main(argv: Sequence[str] | None = None, *, files: Sequence[Path] | None = None) -> int:
    """Run one command and return its exit code; data goes to stdout, messages to stderr.

    `files` are the configuration files to read if none is named, by default those of the machine and the user.
    """
    argv = _in_order(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal or the locale lacks is written as an escape.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not argv:
        build_parser().print_help(sys.stderr)
        return EXIT_USAGE
    try:
        args = build_parser(argv).parse_args(argv)
    except SystemExit as end:
        if end.code != EXIT_USAGE or not _is_plug_in(argv):
            raise
        # A monitor takes 2 for critical, and shows what is on stdout.
        print("SOURCEPULSE UNKNOWN: wrong usage, see sourcepulse status --help")
        return EXIT_PLUG_IN_USAGE
    args.default_files = default_files() if files is None else files
    args.explain = lambda _: ""
    _log_to_stderr(verbose=args.verbose)
    try:
        code = int(args.run(args))
        # A closed pipe or a full disk must be reported here; at exit it is too late. Without fd 1, stdout is None.
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except SourcePulseError as error:
        explanation = args.explain(error)
        print(f"sourcepulse: {error}{explanation and f' ({explanation})'}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe, as `head` does; Python must not complain again at exit.
        _discard_output()
        return EXIT_OK
    except OSError as error:
        print(f"sourcepulse: {error}", file=sys.stderr)
        if error.errno == errno.ENOSPC:
            _discard_output()
        return EXIT_FAILURE


def _is_plug_in(argv: Sequence[str]) -> bool:
    # argparse accepts the beginning of an option as well.
    return argv[0] == "status" and any(len(each) > len("--c") and "--check".startswith(each) for each in argv)


def _log_to_stderr(*, verbose: bool) -> None:
    # In UTC, like the times of events, and with its zone.
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    # The client libraries log whole frames at DEBUG, passwords included.
    for noisy in ("amqp", "kombu", "stomp.py"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _in_order(argv: Sequence[str]) -> list[str]:
    """Return the arguments with the command first: `help CMD` is `CMD --help`, and `-v CMD` is `CMD -v`."""
    match list(argv):
        case ["help", *rest] | [("-v" | "--verbose"), "help", *rest]:
            return [*rest, "--help"]
        case [("-v" | "--verbose") as verbose, command, *rest]:
            return [command, verbose, *rest]
        case unchanged:
            return unchanged


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Make the parser with the commands of the core and of the installed plugins.

    If the arguments begin with a command, only that one is loaded, because the hook starts the relay after a push.
    """
    parser = argparse.ArgumentParser(
        prog="sourcepulse",
        description="Publish events from inside Mercurial, Buildbot and Bugzilla.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(_VERSION, action=_Version, help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    folders = dict.fromkeys(_COMMANDS, "commands") | dict.fromkeys(_DESCRIBING, "describe")
    loaders: dict[str, Callable[[], ModuleType]] = {
        name: partial(import_module, f"sourcepulse.cli.{folder}.{name.replace('-', '_')}")
        for name, folder in folders.items()
    }
    if not argv or argv[0] not in {*loaders, _VERSION}:
        loaders |= _of_plugins()
    if argv and not argv[0].startswith("-") and argv[0] not in loaders:
        near = difflib.get_close_matches(argv[0], loaders, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(loaders)}"
        parser.error(f"unknown command {argv[0]!r}; {hint}")
    if argv and (argv[0] in loaders or argv[0] == _VERSION):
        loaders = {name: loader for name, loader in loaders.items() if name == argv[0]}
    for name, loader in loaders.items():
        _add_command(subparsers, name, loader())
    return parser


def _of_plugins() -> dict[str, Callable[[], ModuleType]]:
    # A third of what a command of the core would load.
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=ENTRY_POINT_GROUP)}


class _Version(argparse.Action):
    """Look the version up only on request: that takes milliseconds, which a relay started by the hook saves."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from sourcepulse import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()


def _add_command(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: ModuleType
) -> None:
    parser = subparsers.add_parser(name, help=module.HELP, description=module.__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more to stderr")
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
