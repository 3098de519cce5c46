# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a builder is called and how it is described: as it is configured, or as Buildbot's database remembers it."""

from __future__ import annotations

from typing import Any, NamedTuple

from sourcepulse_buildbot.mapping.rows import Row

#: Buildbot marks virtual builders so, and by mistake the list of their builder as well.
_VIRTUAL_TAG = "_virtual_"


class BuilderFacts(NamedTuple):
    """A builder; `virtual_name` and `virtual_tags` are what its configuration calls all of its builds."""

    name: str
    tags: tuple[str, ...] = ()
    description: str | None = None
    virtual_name: str | None = None
    virtual_tags: tuple[str, ...] = ()


def configured(botmaster: Any, name: str) -> BuilderFacts | None:
    """Return what is configured of a builder of this master; None for one that it does not have."""
    try:
        config = botmaster.builders[name].config
        properties = config.properties or {}
        virtual_name = properties.get("virtual_builder_name")
        return BuilderFacts(
            name,
            plain_tags(config.tags),
            config.description or None,
            virtual_name if isinstance(virtual_name, str) else None,
            plain_tags(properties.get("virtual_builder_tags")),
        )
    except (AttributeError, KeyError, TypeError):
        return None


def stored(row: Row) -> BuilderFacts:
    """Return what Buildbot's database has of a builder: of a virtual one, or one that is not configured any more."""
    return BuilderFacts(row["name"], plain_tags(row.get("tags")), row.get("description") or None)


def plain_tags(tags: Any) -> tuple[str, ...]:
    """Return tags that are texts, without the mark of Buildbot's own."""
    if not isinstance(tags, list | tuple):
        return ()
    return tuple(tag for tag in tags if isinstance(tag, str) and tag != _VIRTUAL_TAG)
