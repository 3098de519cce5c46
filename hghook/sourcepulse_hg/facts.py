# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What happened in a repository, as plain values: changesets, who acted, how and from where.

These are records, because a dataclass takes many times as long to create, in every push. Facts that
only some pushes have are beside their readers in `gather/`.
"""

from __future__ import annotations

import codecs
import os
import pwd
from collections.abc import Iterable, Mapping
from typing import Any

from sourcepulse.events.record import Record

#: At most this many files of each kind, and this many copies, are listed for a changeset.
FILES_MAX = 200
#: These are pushes, which are published even with `commits = no`. The second set has the names of the transactions in
#: which a client older than bundle2 pushes bookmarks, phases and markers; hooks get no source then.
_FROM_OTHERS = frozenset({b"serve", b"push", b"unbundle"} | {b"bookmarks", b"pushkey-phase", b"pushkey:"})
_STRIP = b"strip"


class FileChanges(Record):
    """What a changeset did to its files, None if unknown; `copies` are pairs of an added file and its source."""

    added: list[bytes] | None
    modified: list[bytes] | None
    removed: list[bytes] | None
    copies: list[tuple[bytes, bytes]] | None


class Changeset(Record):
    """A changeset; `text` is its raw changelog entry, which `parse_entry` reads."""

    node: str
    parents: tuple[str, ...]
    text: bytes
    phase: str
    changes: FileChanges | None = None


class Added(Record):
    """The changesets that a transaction added and that a pull can see (hg's `served` view).

    `changesets` holds the oldest ones. `heads` holds pairs of node and changelog entry; it may be cut, `heads_total`
    counts all heads. `query` is the revset that yields all the changesets.
    """

    total: int
    first: str
    last: str
    heads: tuple[tuple[str, bytes], ...]
    heads_total: int
    query: str
    changesets: Iterable[Changeset]


class Act(Record):
    """Who did what and when: the time is in seconds since 1970, from the clock inside the transaction."""

    txnid: str
    time: float
    user: bytes | None
    source: bytes | None
    url: str | None


class Emitter(Record):
    """The repository that the events come from.

    `name` is its path below the root, as the file system has it; `source` the URI of the events.
    """

    name: bytes
    source: str
    repo_url: str | None
    detail: str
    max_changesets: int


class Entry(Record):
    """The parts of a changelog entry, not a byte of which is lost; the date is seconds since 1970 and the offset west.

    Mercurial's own reader translates to the local encoding and guesses where a text is not UTF-8. The format is that
    of `mercurial/changelog.py`: lines of manifest, user, `seconds offset[ extra]` and files, an empty line, the
    description.
    """

    user: bytes
    date: tuple[int, int]
    branch: bytes
    closed: bool
    files: list[bytes]
    description: bytes
    extra: dict[bytes, bytes]


def parse_entry(text: bytes) -> Entry:
    """Parse an entry; an empty one, which some converters write, gets the values that Mercurial reads from it."""
    if not text:
        return Entry(b"", (0, 0), b"default", False, [], b"", {})
    head, _, description = text.partition(b"\n\n")
    lines = head.split(b"\n")
    user = lines[1] if len(lines) > 1 else b""
    fields = lines[2].split(b" ", 2) if len(lines) > 2 else []
    extra = _parse_extra(fields[2]) if len(fields) > 2 else {}
    return Entry(
        user=user,
        date=(_number(fields, 0), _number(fields, 1)),
        branch=extra.get(b"branch", b"default"),
        closed=b"close" in extra,
        files=lines[3:],
        description=description,
        extra=extra,
    )


def _number(fields: list[bytes], place: int) -> int:
    # Some very old tools wrote no or a broken time zone; Mercurial reads 0 then.
    try:
        return int(float(fields[place]))
    except (IndexError, ValueError, OverflowError):
        return 0


def _parse_extra(text: bytes) -> dict[bytes, bytes]:
    extra = {}
    for part in text.split(b"\0"):
        if part:
            # The escapes are those of C strings: \\ \0 \n \r.
            key, _, value = codecs.escape_decode(part)[0].partition(b":")
            extra[key] = value
    return extra


def source_word(source: bytes | None, transaction_name: bytes) -> bytes | None:
    """Return the hook's source, else the first word of the transaction's name (`pull`, `commit`, `amend`)."""
    if source:
        return source
    words = transaction_name.split()
    return words[0] if words else None


def is_published(source: bytes | None, *, commits: bool) -> bool:
    """Return whether changes from this source are published; changesets that strip adds again never are."""
    return source != _STRIP and (commits or comes_from_others(source))


def comes_from_others(source: bytes | None) -> bool:
    """Return whether this was pushed or unbundled, rather than made in the repository itself."""
    return source in _FROM_OTHERS


def public_url(url: bytes | None) -> str | None:
    """Return `remote:ssh`, `remote:http`, `file`, `bundle`, or the peer of a pull without credentials."""
    if not url:
        return None
    text = url.decode("utf-8", "replace")
    scheme, _, rest = text.partition(":")
    if scheme == "remote":
        return f"remote:{rest.partition(':')[0]}"
    if scheme.startswith("bundle"):
        return "bundle"
    if "://" not in text or scheme == "file":
        # The peer is a path on this machine, which is not published.
        return "file"
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(text)
    except ValueError:
        return scheme
    # A query or fragment may be a token for the peer.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def acting_user(environment: Mapping[Any, Any], url: bytes | None) -> bytes | None:
    """Return the user who acted, as far as the server knows; None for an anonymous HTTP client.

    Over HTTP that is REMOTE_USER of the request. Over ssh it is REMOTE_USER or USER as a forced command set them. An
    account with a shell is named instead, because its owner controls the environment. The environment is that of the
    request: WSGI has Latin-1 strings (PEP 3333), a process has bytes.
    """
    remote = _lookup(environment, "REMOTE_USER")
    if url is not None and url.startswith((b"remote:http:", b"remote:https:")):
        from urllib.parse import unquote_to_bytes

        # Not the account of this process, which is the server's; hg appends the authenticated user to the URL.
        return remote or unquote_to_bytes(url.rpartition(b":")[2]) or None
    has_shell = _lookup(environment, "SSH_CONNECTION") and not _lookup(environment, "SSH_ORIGINAL_COMMAND")
    if has_shell and url is not None and url.startswith(b"remote:ssh"):
        return _account()
    if remote:
        return remote
    for name in ("USER", "LOGNAME"):
        user = _lookup(environment, name)
        if user:
            return user
    return _account()


def _account() -> bytes | None:
    try:
        return os.fsencode(pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return None


def _lookup(environment: Mapping[Any, Any], name: str) -> bytes | None:
    for key in (name.encode("ascii"), name):
        try:
            value = environment.get(key)
        except TypeError:
            # os.environb does not accept a string as key.
            continue
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8" if max(value, default="") > "\xff" else "latin-1", "surrogateescape")
    return None
