# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A builder's name and description: as configured, or as Buildbot's database remembers them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sourcepulse_buildbot.mapping.rows import Row

#: Buildbot's tag for virtual builders; by mistake, it also adds it to the tags of their configured builder.
_VIRTUAL_TAG = "_virtual_"


class BuilderFacts(NamedTuple):
    """A builder; `virtual_name` and `virtual_tags` are those under which its configuration shows all of its builds."""

    name: str
    tags: tuple[str, ...] = ()
    description: str | None = None
    virtual_name: str | None = None
    virtual_tags: tuple[str, ...] = ()


def configured(botmaster: Any, name: str) -> BuilderFacts | None:
    """Return the configuration of a builder; None if this master does not have it."""
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
    """Return a builder as Buildbot's database has it: a virtual one, or one that is no longer configured."""
    return BuilderFacts(row["name"], plain_tags(row.get("tags")), row.get("description") or None)


def plain_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags that are texts, without the one that Buildbot adds."""
    if not isinstance(tags, list | tuple):
        return ()
    return tuple(tag for tag in tags if isinstance(tag, str) and tag != _VIRTUAL_TAG)
