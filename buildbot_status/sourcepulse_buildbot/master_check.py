# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check a reporter's settings against the rest of master.cfg: names that do not exist, an outbox used by two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse_buildbot.mapping.build_facts import plain_tags
from sourcepulse_buildbot.settings import FORMATS, Settings

#: One of them is in the folder of every master.
FILES_OF_A_MASTER = ("buildbot.tac", "master.cfg")


def mistakes(settings: Settings, service: Any, master: Any) -> Iterator[str]:
    """Yield a sentence for each thing that cannot work."""
    outbox = _path(master, settings.outbox)
    place = (settings.broker, settings.exchange, settings.format)
    for other in _services(master):
        theirs = getattr(other, "_config_kwargs", None) or {}
        if type(other) is not type(service) or other.name == service.name or not isinstance(theirs.get("outbox"), str):
            continue
        their_place = (theirs["broker"], theirs.get("exchange", DEFAULT_EXCHANGE), theirs.get("format", FORMATS[0]))
        if _path(master, theirs["outbox"]) == outbox and their_place != place:
            # One relay serves an outbox, and would send the events of both reporters to one of the two places.
            yield (
                f"outbox={settings.outbox!r} is also used by the reporter {other.name!r}, which sends to a different "
                "place; give each reporter its own outbox"
            )


def doubts(settings: Settings, master: Any) -> Iterator[str]:
    """Yield a sentence for each thing that may be intended: no outbox folder yet, names that master.cfg does not have.

    Virtual builders get their names only when they build, so unknown names are not mistakes.
    """
    if sentence := no_folder(settings.outbox, Path(master.basedir)):
        yield sentence
    known_builders, known_tags = _names_and_tags(master)
    schedulers = {str(name) for name in getattr(master.config, "schedulers", None) or ()}
    for what, asked, known in (
        ("builders", settings.selection.builders, known_builders),
        ("tags", settings.selection.tags, known_tags),
        ("schedulers", settings.selection.schedulers, schedulers),
    ):
        for name in sorted((asked or frozenset()) - known):
            yield f"{what} contains {name!r}, which is not in master.cfg; until it is, it selects nothing"


def no_folder_here(outbox: str) -> str | None:
    """Return the same where `checkconfig` runs; nothing in a folder that is not a master's, or that is closed to us."""
    try:
        here = Path.cwd()
        if Path(outbox).is_absolute() or any((here / name).exists() for name in FILES_OF_A_MASTER):
            return no_folder(outbox, here)
    except OSError:
        # The master will look again, as its own user.
        pass
    return None


def no_folder(outbox: str, basedir: Path) -> str | None:
    """Return what to do if the folder of the outbox does not exist; until it does, events wait in memory."""
    if (basedir / outbox).parent.is_dir():
        return None
    return f"the folder of the outbox {outbox!r} does not exist; create it, writable for the master"


def _names_and_tags(master: Any) -> tuple[set[str], set[str]]:
    names: set[str] = set()
    tags: set[str] = set()
    for builder in getattr(master.config, "builders", None) or ():
        properties = builder.properties or {}
        names |= _texts([builder.name, properties.get("virtual_builder_name")])
        tags |= {*plain_tags(builder.tags), *plain_tags(properties.get("virtual_builder_tags"))}
    return names, tags


def _services(master: Any) -> Iterable[Any]:
    services = getattr(master.config, "services", None) or {}
    return services.values() if isinstance(services, dict) else ()


def _path(master: Any, outbox: str) -> Path:
    return (Path(master.basedir) / outbox).resolve()


def _texts(values: Iterable[object]) -> set[str]:
    return {value for value in values if isinstance(value, str)}
