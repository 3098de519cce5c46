# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check the whole installation, and print for each fault its cause, its consequence and the command that repairs it.

Changes nothing and publishes nothing, unless --probe is set. Exit code 0 if all is well, 1 if something is broken, 2 if
there are only doubts or something could not be checked.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.commands.relay import RELAY_SETTINGS
from sourcepulse.cli.common import add_json, add_settings, folders_from_here, outbox_path, print_json
from sourcepulse.config import KEYS, SYSTEM_FILE, Config, check_value, load
from sourcepulse.errors import ConfigError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.operations.doctor import probe
from sourcepulse.operations.doctor.doctor import examine, situation_of
from sourcepulse.operations.doctor.output import lines

#: Where the units find the URLs of the brokers.
CREDENTIALS = SYSTEM_FILE.parent

HELP = "name what keeps events from arriving, and the command that repairs it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    add_settings(parser, *RELAY_SETTINGS)
    parser.add_argument(
        "--repository", type=Path, action="append", default=[], metavar="REPO",
        help="also check this Mercurial repository; those that the outbox knows are checked anyway",
    )  # fmt: skip
    parser.add_argument(
        "--master", type=Path, action="append", default=[], metavar="BASEDIR", help="also check this Buildbot master"
    )
    parser.add_argument(
        "--bugzilla", type=Path, action="append", default=[], metavar="DIR",
        help="also check this Bugzilla; those that the outbox knows are checked anyway",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action="store_true", help="also publish one event, system.probe.v1, and wait until it comes back"
    )
    for prefix, stream in (("", "public"), ("restricted-", "restricted")):
        parser.add_argument(
            f"--{prefix}reader-file", type=Path, metavar="FILE",
            help=f"a file with the URL with which a consumer of {stream} events logs in, for --probe",
        )  # fmt: skip
    add_json(parser, "one JSON object, as `sourcepulse schema doctor` describes it")


def run(args: argparse.Namespace) -> int:
    """Print the report and return its exit code."""
    config, problem = _settings(args)
    try:
        path: Path | None = outbox_path(config).absolute()
    except ConfigError:
        # A source may be checked without one.
        path = None
    situation = situation_of(
        config,
        path,
        problem=problem,
        repositories=tuple(args.repository) or (_surrounding_repository() if path is None else ()),
        masters=tuple(args.master),
        bugzillas=tuple(args.bugzilla),
        readers=_readers(args),
    )
    report = examine(situation, more=(probe.jobs,) if args.probe else ())
    if args.json:
        print_json(report.document())
    else:
        for line in lines(report):
            print(line)
    return report.exit_code


def _surrounding_repository() -> tuple[Path, ...]:
    """Return the repository of the current directory, if there is one."""
    found = (folder for folder in folders_from_here() if os.path.isdir(folder / ".hg"))  # noqa: PTH112 - see there
    return tuple(found)[:1]


def _readers(args: argparse.Namespace) -> dict[str, BrokerUrl]:
    """Return the URL of a consumer of each stream that has one."""
    named = {PUBLIC: args.reader_file, RESTRICTED: args.restricted_reader_file}
    return {
        stream: url
        for stream, file in named.items()
        if file is not None and (url := load({"broker_file": str(file)}, environ={}).broker()) is not None
    }


def _settings(args: argparse.Namespace) -> tuple[Config, str]:
    """Return the settings, and why they could not be read; then only those that can be."""
    given = {
        key: check_value(key, value, "the arguments") for key in KEYS if (value := getattr(args, key, None)) is not None
    }
    read = partial(load, file=args.config, default_files=args.default_files)
    try:
        config = read(given)
        return read(given | _credentials(config)), ""
    except ConfigError as error:
        problem = str(error)
    outbox = {key: value for key, value in given.items() if key == "outbox"}
    # The broker's file is often for the relay alone.
    for attempt in (partial(read, given, uses=("outbox",)), partial(load, given, environ={})):
        try:
            return attempt(), problem
        except ConfigError:
            continue
    return load(outbox, environ={}), problem


def _credentials(config: Config) -> dict[str, str]:
    """Return the files that the shipped units pass to the services, for brokers that the settings do not name."""
    return {
        f"{prefix}broker_file": str(file)
        for prefix, name in (("", "broker"), ("restricted_", "restricted-broker"))
        if not config.text(f"{prefix}broker") and os.access(file := CREDENTIALS / name, os.R_OK)
    }
