# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who acted, how and from where, from what Mercurial tells a hook; no client address gets through."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

#: These come from others: they are published also with `commits = no`. The second line are the names of the
#: transactions in which a client older than bundle2 pushes bookmarks, phases and markers; a hook gets no source then.
_FROM_OTHERS = frozenset({b"serve", b"push", b"unbundle"} | {b"bookmarks", b"pushkey-phase", b"pushkey:"})
_STRIP = b"strip"


def source_word(source: bytes | None, transaction_name: bytes) -> bytes | None:
    """Return the hook's source, else the first word of the transaction's name (`pull`, `commit`, `amend`)."""
    if source:
        return source
    words = transaction_name.split()
    return words[0] if words else None


def is_published(source: bytes | None, *, commits: bool) -> bool:
    """Return whether what came this way is published.

    What strip adds again is known already.
    """
    return source != _STRIP and (commits or comes_from_others(source))


def comes_from_others(source: bytes | None) -> bool:
    """Return whether somebody pushed or unbundled this, rather than did it in the repository."""
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
        # A path: the peer is on this machine, and where is nobody's business.
        return "file"
    try:
        parts = urlsplit(text)
    except ValueError:
        return scheme
    # What a query or fragment says is for the peer: it may be a token.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def acting_user(environment: Mapping[Any, Any], url: bytes | None) -> bytes | None:
    """Return the user who acted, as far as the server knows; None for an anonymous HTTP client.

    Over HTTP that is REMOTE_USER of the request. Over ssh it is REMOTE_USER or USER as a forced command set them, but
    the name of the account where it has a shell, because its owner chooses the environment. The environment is that
    of the request: WSGI has texts of Latin-1 (PEP 3333), a process has bytes.
    """
    remote = _lookup(environment, "REMOTE_USER")
    if url is not None and url.startswith((b"remote:http:", b"remote:https:")):
        # The server's own account did not push; hg puts the authenticated user last.
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
            # os.environb refuses to be asked for a text.
            continue
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8" if max(value, default="") > "\xff" else "latin-1", "surrogateescape")
    return None
