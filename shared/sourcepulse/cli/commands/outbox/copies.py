# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions that copy an outbox or its events: backup, restore, export, import."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO

from sourcepulse.cli.commands.outbox.arguments import (
    Actions,
    add_outbox_action,
    add_selection,
    selection,
    unrelayed,
)
from sourcepulse.cli.common import (
    add_apply,
    add_json,
    is_applied,
    open_outbox,
    outbox_path,
    print_json,
    settings,
    warn_if_unrelayed,
)
from sourcepulse.cli.progress import Progress
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse.events.safe_text import plain
from sourcepulse.operations.copies.backup import backup
from sourcepulse.operations.copies.export import export
from sourcepulse.operations.copies.load import ImportPlan, plan_import, run_import
from sourcepulse.operations.copies.new_file import new_file
from sourcepulse.operations.copies.restore import Restorable, examine, restore
from sourcepulse.outbox.outbox import PENDING, Outbox
from sourcepulse.outbox.queries import STATES


def add_copy_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    help_ = "copy the whole outbox into one file, while writers and a relay continue"
    add_outbox_action(actions, "backup", _backup, help_, _target_argument, _force_argument, add_json)
    help_ = "replace the outbox by a backup, with a new epoch; shows what that means, and does it with --apply"
    add_outbox_action(actions, "restore", _restore, help_, _backup_argument, add_apply, add_json)
    help_ = "write events as lines of JSON (schema: outbox-export.v1)"
    add_outbox_action(actions, "export", _export, help_, _lines_argument, _force_argument, add_selection, _state)
    help_ = "store exported events, with their ids and numbers; shows how many, and does it with --apply"
    add_outbox_action(actions, "import", _import, help_, _source_argument, add_apply, add_json)


def _target_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="FILE", help="the backup, a new file of mode 0600")


def _backup_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backup", type=Path, metavar="FILE", help="a backup")


def _lines_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", type=Path, nargs="?", metavar="FILE", help="a new file of mode 0600 (default: standard output)"
    )


def _source_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lines", metavar="FILE", help="what `outbox export` wrote; - reads standard input")


def _force_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=STATES, help="only events in this state")


def _backup(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox, Progress("copying") as progress:
        made = backup(outbox, args.target, force=args.force, progress=progress)
    if args.json:
        print_json(asdict(made) | {"path": str(made.path)})
    else:
        print(
            f"{made.path} has {made.events} events, {made.pending} of them pending, in {made.bytes} bytes; it is sound"
        )
    return EXIT_OK


def _restore(args: argparse.Namespace) -> int:
    path = outbox_path(settings(args))
    # Without an outbox nothing can relay it.
    with unrelayed(path) if path.exists() else nullcontext():
        found = examine(path, args.backup)
        if not is_applied(args):
            print_json(_as_json(found)) if args.json else _print_restorable(path, found)
            return EXIT_OK
        with Progress("copying") as progress:
            done = restore(path, args.backup, progress=progress)
    if args.json:
        print_json(_as_json(found) | {"epoch": done.epoch, "aside": None if done.aside is None else str(done.aside)})
        return EXIT_OK
    former = f"mode {done.mode:04o}" if done.aside is None else f"the former file is kept as {done.aside}"
    print(f"{path} is the state of {found.made_at or 'the backup'}, in the new epoch {done.epoch}; {former}")
    if done.aside is not None and found.lacks:
        print(
            "what it lacks can be taken over from there: "
            f"sourcepulse outbox export --outbox {done.aside} | sourcepulse outbox import - --apply --outbox {path}"
        )
    return EXIT_OK


def _as_json(found: Restorable) -> dict[str, object]:
    return asdict(found) | {"backup": str(found.backup), "sources": dict(found.sources)}


def _print_restorable(path: Path, found: Restorable) -> None:
    made = f"made at {found.made_at}" if found.made_at else "not made by `outbox backup`"
    print(
        f"{found.backup}, {made}, has {found.events} events, {found.pending} of them pending: those would be sent again"
    )
    if found.lacks is None:
        print(f"what {path} has beyond it is unknown, because there is no such file or it cannot be read")
    elif found.lacks:
        lacking = ", ".join(f"{count} {state}" for state, count in found.lacks.items())
        print(f"it lacks events of {path}: {lacking}")
    for source, last in found.sources:
        print(f"{plain(source)}: the last number in it is {last}; the next event would begin a new epoch with 1")


def _export(args: argparse.Namespace) -> int:
    with open_outbox(settings(args)) as outbox, Progress("exporting") as progress:
        lines = export(outbox, selection(args, state=args.state), progress=progress)
        if args.target is None:
            for line in lines:
                sys.stdout.write(line + "\n")
            return EXIT_OK
        with (
            new_file(args.target, force=args.force, apart_from=outbox.path) as part,
            part.open("w", encoding="ascii") as file,
        ):
            count = sum(bool(file.write(line + "\n")) for line in lines)
    print(f"{args.target} has {count} events")
    return EXIT_OK


def _import(args: argparse.Namespace) -> int:
    config = settings(args)
    with _opened(args.lines) as file, _target_of_import(config, applied=args.apply) as outbox:
        plan = plan_import(outbox, file)
        stored = 0
        if is_applied(args):
            with Progress("importing") as progress:
                stored = run_import(outbox, file, plan, progress=progress)
        if args.json:
            print_json(asdict(plan) | {"stored": stored})
        else:
            print(_sentence(plan, applied=args.apply))
        if stored and (pending := plan.new.get(PENDING, 0)):
            warn_if_unrelayed(config, outbox, f"events that are pending: {pending},")
    return EXIT_OK


def _sentence(plan: ImportPlan, *, applied: bool) -> str:
    states = ", ".join(f"{count} {state}" for state, count in plan.new.items()) or "none"
    verb = "were" if applied else "would be"
    return f"events that {verb} stored: {states}; there already: {plan.known}"


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open lines so that they can be read twice."""
    if name == "-":
        source: BinaryIO = sys.stdin.buffer
    else:
        try:
            source = Path(name).open("rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise ConfigError(f"{name} cannot be read: {error.strerror}") from None
    with source:
        if source.seekable() and name != "-":
            yield source
            return
        with TemporaryFile() as copy:
            shutil.copyfileobj(source, copy)
            copy.seek(0)
            yield copy


@contextmanager
def _target_of_import(config: Config, *, applied: bool) -> Iterator[Outbox]:
    """Open the outbox; where there is none yet, only an import that is applied makes it."""
    path = outbox_path(config)
    if applied or path.exists():
        # A new one is private, because lines do not say who could read the outbox that they come from.
        with Outbox.open(path, private=True) as outbox:
            yield outbox
        return
    with TemporaryDirectory() as folder, Outbox.open(Path(folder) / path.name) as empty:
        yield empty
