# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who acted, how and from where, from what Mercurial passes to a hook; client addresses are never included."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

#: These are pushes, which are published even with `commits = no`. The second set has the names of the transactions in
#: which a client older than bundle2 pushes bookmarks, phases and markers; hooks get no source then.
_FROM_OTHERS = frozenset({b"serve", b"push", b"unbundle"} | {b"bookmarks", b"pushkey-phase", b"pushkey:"})
_STRIP = b"strip"


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
