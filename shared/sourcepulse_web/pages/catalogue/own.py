# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The types of the site, read again when a file of their folder has changed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sourcepulse.catalogue.own_types import Schemas, read_own_types
from sourcepulse.errors import ConfigError

if TYPE_CHECKING:
    from sourcepulse_web.services import Services

_State = tuple[tuple[str, int, int], ...]


class OwnTypes(NamedTuple):
    """The schemas of the site's types; `problem` says why they are missing, or are not those of now."""

    schemas: Schemas
    problem: str = ""


_NONE = OwnTypes({})


class OwnTypesReader:
    """Reads the folder that the settings name. While a file there is wrong, what was read before counts."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._read_at: tuple[Path, _State] | None = None
        self._types = OwnTypes({})

    def read(self) -> OwnTypes:
        """Return the types of now."""
        folder = self._services.settings().schemas_dir
        if folder is None:
            return _NONE
        now = (folder, _state(folder))
        if now != self._read_at:
            known = self._types.schemas if self._read_at is not None and self._read_at[0] == folder else {}
            try:
                self._types = OwnTypes(read_own_types(folder))
            except ConfigError as error:
                self._types = OwnTypes(known, str(error))
            self._read_at = now
        return self._types


@lru_cache(maxsize=4)
def own_types_reader(services: Services) -> OwnTypesReader:
    """Return the one reader of a gateway, so that all pages know the same types."""
    return OwnTypesReader(services)


def _state(folder: Path) -> _State:
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, status.st_mtime_ns, status.st_size) for name, status in found)
