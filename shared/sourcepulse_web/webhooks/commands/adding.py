# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions that register hooks: add, import."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from sourcepulse.config import readable_by_others
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse_web.webhooks.commands.arguments import Actions, add_hook_action, open_desk
from sourcepulse_web.webhooks.commands.hints import counted, warn_if_not_running
from sourcepulse_web.webhooks.hook import Handshake
from sourcepulse_web.webhooks.post.signature import SECRET_MAX_BYTES, SECRET_MIN_BYTES, SECRET_PREFIX, key_of

SECRET_FILE_MAX_BYTES = 1024
SECRET_FORM = f"{SECRET_PREFIX} and {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} random bytes in base64"
#: Of the imported hooks that are not on for one reason, so many are named.
NAMES_SHOWN = 5

logger = logging.getLogger(__name__)


def add_adding_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    add = add_hook_action(actions, "add", _add, "register a URL for the events of some topics, and print its secret")
    add.add_argument("url", metavar="URL", help="where each event is POSTed to; if it is itself a secret, `import` it")
    add_topics(add, required=True)
    add.add_argument(
        "--owner", default="", metavar="USER", help="whose hook it is, exactly as the proxy names the user"
    )
    add_handshake(add, Handshake.OFF)
    add.add_argument("--secret-file", type=Path, metavar="FILE", help="keep the secret of this file, whsec_...")
    importing = add_hook_action(
        actions, "import", _import, "register the hooks of a file, all or none, and print the secrets made", named=False
    )
    importing.add_argument(
        "source", type=Path, metavar="FILE", help="a JSON list, or lines as `list --json` prints them; - for stdin"
    )
    importing.add_argument("--replace", action="store_true", help="update hooks that exist already")


def add_topics(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--topic`, which may be repeated and may have several patterns."""
    parser.add_argument(
        "--topic",
        dest="topics",
        action="extend",
        nargs="+",
        required=required,
        metavar="PATTERN",
        help="a pattern of routing keys, such as 'hg.push.#'; may be repeated",
    )


def add_handshake(parser: argparse.ArgumentParser, default: Handshake | None) -> None:
    """Add the options about what the receiver asks of a sender."""
    parser.add_argument(
        "--handshake",
        choices=[each.value for each in Handshake],
        default=default and default.value,
        help="whether the receiver is asked for its consent by OPTIONS, as CloudEvents describe it; with `require`, "
        "nothing is POSTed without it" + ("" if default is None else f" (default: {default.value})"),
    )
    parser.add_argument(
        "--bearer-file", type=Path, metavar="FILE", help="a file with a token that is sent as Authorization: Bearer"
    )


def _read_secret(path: Path) -> str:
    """Return the one line of a file; ConfigError, without the line, if there is not one."""
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the secret file {path} cannot be read: {error.strerror}") from None
    if len(raw) > SECRET_FILE_MAX_BYTES or not raw.isascii():
        raise ConfigError(f"the secret file {path} must contain one line: {SECRET_FORM}")
    secret = raw.decode("ascii").strip()
    try:
        key_of(secret)
    except ConfigError:
        raise ConfigError(
            f"the secret file {path} must contain one line: {SECRET_FORM}; without --secret-file a new secret is made"
        ) from None
    if readable_by_others(path):
        logger.warning("others can read the secret file %s: chmod go-r %s", path, path)
    return secret


def _add(args: argparse.Namespace) -> int:
    secret = None if args.secret_file is None else _read_secret(args.secret_file)
    bearer = "" if args.bearer_file is None else str(args.bearer_file.absolute())
    with open_desk(args, create=True) as desk:
        added = desk.add(
            args.name,
            args.url,
            args.topics,
            owner=args.owner,
            handshake=Handshake(args.handshake),
            bearer_file=bearer,
            secret=secret,
        )
        if secret is None:
            print_secret(added.secret)
        matched = desk.matches(args.topics)
        running = desk.sender_runs()
    warn_of_doubt(added.doubt)
    most = "at least " if matched.more else ""
    logger.info("%s would have matched %s%s in the last 24 hours", args.name, most, counted(matched.count, "event"))
    kept = "" if secret is not None else "its secret is printed above, once: put it into the receiver; "
    logger.info("%sthen try it: sourcepulse webhook test %s", kept, args.name)
    warn_if_not_running(running)
    return EXIT_OK


def print_secret(secret: str) -> None:
    """Write a secret to stdout at once, because it is shown once."""
    print(secret)
    sys.stdout.flush()


def warn_of_doubt(doubt: str) -> None:
    """Log what may be wrong with a receiver, if anything is."""
    if doubt:
        logger.warning("%s", doubt)


def _import(args: argparse.Namespace) -> int:
    from sourcepulse_web.webhooks.desk.entries import FILE_MAX_BYTES, read_entries

    entries = read_entries(_read(args.source, FILE_MAX_BYTES + 1))
    if str(args.source) != "-" and any(entry.secret for entry in entries) and readable_by_others(args.source):
        logger.warning("others can read the secrets in %s: chmod go-r %s", args.source, args.source)
    with open_desk(args, create=True) as desk:
        imported = desk.import_hooks(entries, replace_known=args.replace)
        running = desk.sender_runs()
    for name, secret in imported.made.items():
        print(f"{name} {secret}")
    sys.stdout.flush()
    for doubt in imported.doubts:
        warn_of_doubt(doubt)
    logger.info(
        "%s: %d new, %d updated%s",
        counted(imported.new + imported.updated, "hook"),
        imported.new,
        imported.updated,
        "; the secrets printed above are not shown again" if imported.made else "",
    )
    _log_not_on(imported.not_on)
    warn_if_not_running(running)
    return EXIT_OK


def _log_not_on(not_on: Mapping[str, str]) -> None:
    """Log how many new hooks are not on, and which of them for which reason."""
    if not_on:
        logger.info("%s of these %s not on, as in the file:", len(not_on), "is" if len(not_on) == 1 else "are")
    for why in dict.fromkeys(not_on.values()):
        names = [name for name, each in not_on.items() if each == why]
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        logger.info("%s: %s%s", why, ", ".join(names[:NAMES_SHOWN]), more)


def _read(source: Path, most: int) -> bytes:
    if str(source) == "-":
        return sys.stdin.buffer.read(most)
    try:
        with source.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise ConfigError(f"the file {source} cannot be read: {error.strerror}") from None
