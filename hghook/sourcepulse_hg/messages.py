# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Warn users and log for admins; never raises."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from mercurial import error

from sourcepulse_hg.pending.first_copy import FOLDER, ensure_folder

#: One line for each transaction whose events were lost: time, txnid, reason.
LOST_NAME = b"lost"
_REASON_MAX_CHARACTERS = 500
# Not compiled here, because a push that goes well needs neither; re caches them on first use.
#: Absolute paths: everything between quotes, otherwise up to the next blank or punctuation mark.
_PATHS = r"(?<=')/[^']*(?=')|(?<=\")/[^\"]*(?=\")|(?<![\w:/.<>-])/(?:[^\s'\",;:()]|:(?=\S))+"


class Messages:
    """Warnings and log lines of one transaction; each warning is printed once."""

    def __init__(self, ui: Any, url: bytes | None = None) -> None:
        self._ui = ui
        #: The user who reads our warnings is on another machine.
        self.is_remote = url is not None and url.startswith(b"remote:")
        self._warned: set[str] = set()

    def log(self, sentence: str) -> None:
        """Write to Mercurial's log (`hg help blackbox`)."""
        with suppress(Exception):
            self._ui.log(b"sourcepulse", b"%s", _line(sentence))

    def note(self, sentence: str) -> None:
        """Write to the log, and to stderr with --debug."""
        with suppress(Exception):
            self.log(sentence)
            self._ui.debug(b"sourcepulse: " + _line(sentence))

    def warn(self, sentence: str) -> None:
        """Write to the log and warn the user, who sees `remote: ...` over ssh and HTTP."""
        if sentence in self._warned:
            return
        self._warned.add(sentence)
        with suppress(Exception):
            line = _line(sentence)
            self._ui.log(b"sourcepulse", b"%s", line)
            self._ui.warn(b"sourcepulse: " + _line(self.for_reader(sentence)))

    def for_reader(self, sentence: str) -> str:
        """Return the sentence, without paths if the user is on another machine."""
        return re.sub(_PATHS, "<path>", sentence) if self.is_remote else sentence

    def warn_all(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            self.warn(sentence)

    def lost(self, dot_hg: bytes, txnid: str, reason: str, *, what: str = "the push is") -> None:
        """Warn that the events of a transaction, or `what` of them, are lost, and record it in the repository."""
        reason = " ".join(reason.split())[:_REASON_MAX_CHARACTERS]
        self.warn(f"{what} not published: {reason}")
        with suppress(OSError):
            folder = os.path.join(dot_hg, FOLDER)
            ensure_folder(folder, like=dot_hg)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(os.path.join(folder, LOST_NAME), flags, os.stat(dot_hg).st_mode & 0o664)
            try:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                os.write(fd, f"{stamp} {txnid} {reason}\n".encode("utf-8", "backslashreplace"))
            finally:
                os.close(fd)


def _line(sentence: str) -> bytes:
    return " ".join(sentence.split()).encode("utf-8", "replace") + b"\n"


#: The size limit of a bundle2 parameter.
PARAMETER_MAX_BYTES = 255
_CUT = b"..."
#: The pusher's terminal must not execute control sequences in a reason.
_CONTROL = "[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]"


def refusal(ui: Any, message: str, hint: str) -> error.Abort:
    """Return the abort to raise; a message too long for it is first printed in full to the pusher."""
    message, hint = (re.sub(_CONTROL, "?", text) for text in (message, hint))
    short, short_hint = cut(" ".join(message.split())), cut(" ".join(hint.split()))
    if short.endswith(_CUT) or short_hint.endswith(_CUT):
        for line in (*message.splitlines(), *hint.splitlines()):
            ui.warn(line.encode("utf-8", "replace") + b"\n")
    return error.Abort(short, hint=short_hint)


def cut(text: str) -> bytes:
    """Return the text as bytes, cut to the size of a bundle2 parameter without splitting a character."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= PARAMETER_MAX_BYTES:
        return encoded
    whole = encoded[: PARAMETER_MAX_BYTES - len(_CUT)].decode("utf-8", "ignore")
    return whole.encode() + _CUT
