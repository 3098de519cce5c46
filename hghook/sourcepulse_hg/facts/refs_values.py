# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a transaction did to bookmarks and tags, see values.py."""

from typing import NamedTuple


class BookmarkChange(NamedTuple):
    """A bookmark and its target before and after, None where there is none that a pull can see."""

    name: bytes
    oldnode: str | None
    node: str | None


class TagChange(NamedTuple):
    """A tag and its target before and after new lines of `.hgtags`, and the changeset that has them."""

    name: bytes
    oldnode: str | None
    node: str | None
    changeset: str
