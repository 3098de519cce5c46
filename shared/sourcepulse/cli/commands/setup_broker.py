# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Set a broker up for events: virtual host, exchanges, users with least rights, limits. Without --apply, only print it.

RabbitMQ is set up over its management API, one object at a time; running it again changes nothing that is right, and
finishes what was interrupted. For ActiveMQ it writes the configuration. Passwords of new users go into files.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.commands.files import shipped_files
from sourcepulse.cli.common import add_json, add_settings, print_json, print_table, required_broker, settings
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, BrokerUnavailableError, ConfigError, NothingThereError
from sourcepulse.events.safe_text import plain
from sourcepulse.operations.broker_setup import activemq
from sourcepulse.operations.broker_setup.activemq_files import NAME, ActivemqSetup
from sourcepulse.operations.broker_setup.found import WELL, Found, State
from sourcepulse.operations.broker_setup.objects import Plan, in_words, objects
from sourcepulse.operations.broker_setup.others import Others, check_admin
from sourcepulse.operations.broker_setup.rabbitmq import RabbitmqSetup, password_file
from sourcepulse.operations.broker_setup.roles import DEFAULT_USERS, ROLES, check_family, parse_users

HELP = "set up exchanges, users and limits of a broker, or check them"

DEFAULT_FOLDER = Path("/etc/sourcepulse")
_HEADER = ("STATE", "KIND", "NAME", "DETAIL")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `setup-broker`."""
    add_settings(
        parser, "broker", "broker_file", "exchange", "restricted_exchange", "management_url", "management_url_file"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--print", action="store_true", help="print what the broker should have (the default)")
    action.add_argument("--check", action="store_true", help="report what is missing or different, with exit code 1")
    action.add_argument("--apply", action="store_true", help="make the broker so")
    defaults = " ".join(f"{user.role.name}={user.name}" for user in DEFAULT_USERS)
    parser.add_argument(
        "--user", action="append", default=[], metavar="ROLE=NAME",
        help=f"a user and its role, of {', '.join(ROLES)}; repeat it for each (default: {defaults})",
    )  # fmt: skip
    parser.add_argument(
        "--secrets", type=Path, default=DEFAULT_FOLDER, metavar="DIR",
        help=f"where files with the passwords of new users are created, mode 0600 (default: {DEFAULT_FOLDER})",
    )  # fmt: skip
    parser.add_argument(
        "--rotate", action="append", default=[], metavar="NAME", help="with --apply, make a new password for this user"
    )
    parser.add_argument(
        "--dead-letters", action="store_true",
        help="RabbitMQ: let consumers keep dead letters, and so write to every queue; where they trust each other",
    )  # fmt: skip
    parser.add_argument(
        "--family", action="append", default=[], metavar="WORD",
        help="RabbitMQ: publishers may also use routing keys that begin with this word, that of your own event types",
    )  # fmt: skip
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print, check or apply; exit code 1 if something is missing or different, or was not done."""
    config = settings(args)
    broker = required_broker(config)
    plan = _plan(args, config, broker)
    if broker.scheme == "file":
        raise ConfigError("the embedded log needs no set-up: its first event creates it")
    if args.rotate and not args.apply:
        raise ConfigError("--rotate changes a password, so it needs --apply")
    for name in args.rotate:
        if all(user.name != name for user in plan.users):
            raise ConfigError(f"--rotate {name}: there is no such user here; name it also with --user ROLE={name}")
    if broker.scheme.endswith("+activemq"):
        return _activemq(args, plan, broker)
    if not (args.check or args.apply):
        _print(args, _wanted(args, plan, broker))
        return EXIT_OK
    return _rabbitmq(args, config, plan, broker)


def _plan(args: argparse.Namespace, config: Config, broker: BrokerUrl) -> Plan:
    exchange, restricted = config.require("exchange"), config.require("restricted_exchange")
    if exchange.lower() == restricted.lower():
        raise ConfigError("exchange and restricted_exchange are the same; restricted events need one of their own")
    return Plan(
        vhost=broker.vhost,
        exchange=exchange,
        restricted_exchange=restricted,
        users=parse_users(args.user),
        dead_letters=args.dead_letters,
        families=tuple(check_family(word) for word in args.family),
    )


def _wanted(args: argparse.Namespace, plan: Plan, broker: BrokerUrl) -> Iterator[Found]:
    for wanted in objects(plan):
        detail = in_words(wanted)
        if wanted.user is not None:
            file = password_file(wanted, folder=args.secrets, broker=broker, management=None)
            detail += f"; a new one gets its password in {file.path}"
        yield Found(State.WANTED, wanted.kind, wanted.name, detail)


def _rabbitmq(args: argparse.Namespace, config: Config, plan: Plan, broker: BrokerUrl) -> int:
    url = config.management()
    if url is None:
        raise ConfigError(
            "no management_url is set; use --management-url-file with a file that contains the URL of RabbitMQ's "
            "management API, https://admin:password@host:15671, or run this without --check and --apply"
        )
    if url.scheme == "http" and not {host for host, _ in url.hosts} <= _LOOPBACK:
        logger.warning("the password of %r travels unencrypted to %s; use https://", url.user, url)
    api = Management(url)
    check_admin(api)
    setup = RabbitmqSetup(api, list(objects(plan)), broker=broker, folder=args.secrets, rotate=args.rotate)
    others = Others(api, plan)
    if args.check:
        return _report(args, chain(setup.check(), others.topics(is_removed=False), others.look()))
    setup.create_password_files()
    return _report(args, _applied(setup, others))


def _applied(setup: RabbitmqSetup, others: Others) -> Iterator[Found]:
    is_ended = False
    for found in setup.apply():
        is_ended = is_ended or isinstance(found.error, BrokerUnavailableError)
        yield found
    if not is_ended:
        yield from others.topics(is_removed=True)
        yield from others.look()


def _activemq(args: argparse.Namespace, plan: Plan, broker: BrokerUrl) -> int:
    template = next((path for path in shipped_files() if path.name == NAME), None)
    if template is None:
        raise NothingThereError(f"the file {NAME} does not come with this installation")
    text = template.read_text(encoding="utf-8")
    if not (args.check or args.apply):
        print(activemq.render(text, plan), end="")
        return EXIT_OK
    setup = ActivemqSetup(text, plan, broker=broker, folder=args.secrets, rotate=args.rotate)
    return _report(args, setup.check() if args.check else setup.apply())


def _report(args: argparse.Namespace, found: Iterable[Found]) -> int:
    """Print the lines; the exit code is that of the first error, or 1 if something remains to be done."""
    lines: list[Found] = []
    try:
        for line in found:
            lines.append(line)
    finally:
        # What was done before an error is reported all the same.
        _print(args, lines)
    # Who adds one consumer need not name all users; a check is of all.
    well = WELL if args.check else WELL | {State.OTHER}
    remaining = [line for line in lines if line.state not in well]
    errors = [line.error for line in lines if line.error is not None]
    if errors and not args.check:
        done = sum(line.state in (State.CREATED, State.CHANGED) for line in lines)
        logger.error(
            "%d objects were created or changed and %d remain; correct the cause and run this again, it continues",
            done,
            len(remaining),
        )
        return errors[0].exit_code
    return EXIT_FAILURE if remaining else EXIT_OK


def _print(args: argparse.Namespace, lines: Iterable[Found]) -> None:
    if args.json:
        for line in lines:
            document = {"state": line.state, "kind": line.kind, "name": line.name, "detail": line.detail}
            print_json(document | ({"remove": line.repair} if line.repair else {}))
        return
    print_table(_HEADER, [(line.state, line.kind, line.name, line.detail) for line in lines])
    if commands := dict.fromkeys(line.repair for line in lines if line.repair):
        print("\nWhat is not of this set-up was left as it is. If it is not wanted, these commands remove it:")
        print("\n".join(f"  {plain(command)}" for command in commands))
