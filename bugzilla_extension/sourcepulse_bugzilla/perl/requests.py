# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The requests that drain.pl understands, with checked answers; PROTOCOL.md describes them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from sourcepulse.cli.lines import shorten
from sourcepulse.errors import ConfigError
from sourcepulse_bugzilla.errors import DrainerError, LockedError, PausedError, SetupError
from sourcepulse_bugzilla.perl.child import Child

PROTOCOL = 2
#: The path of drain.pl in a Bugzilla.
SCRIPT = Path("extensions/SourcePulse/bin/drain.pl")
DEFAULT_PERL = "perl"
ROWS_AT_ONCE = 200
#: A shorter secret could be guessed by a consumer that looks for the numbers behind an id.
SECRET_MIN_DIGITS = 32

_SECRET = re.compile(r"[0-9a-fA-F]+")
_SITE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ERRORS: Mapping[str, type[DrainerError]] = {"paused": PausedError, "locked": LockedError, "setup": SetupError}

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The identity of a Bugzilla, where it sends its nudges, and the secret in the ids of its events."""

    site: str
    secret: str = field(repr=False)
    bugzilla: str
    socket: Path
    group: str | None
    enabled: bool
    requirelogin: bool


class Rows(NamedTuple):
    """The oldest waiting rows, and how many are waiting in all."""

    rows: Sequence[Mapping[str, Any]]
    depth: int


class Stats(NamedTuple):
    """The state of the table; `oldest_s` is an age in seconds.

    `silent_since`, in seconds since 1970, is the time of the last row if Bugzilla has recorded public changes since but
    the extension wrote nothing; else None.
    """

    depth: int
    buried: int
    oldest_s: int | None
    missed: int
    silent_since: int | None


class Page(NamedTuple):
    """What Bugzilla recorded after some marks, in the form of rows, and the marks to continue with."""

    rows: Sequence[Mapping[str, Any]]
    marks: Mapping[str, Any]
    more: bool


class Judged(NamedTuple):
    """Whether an anonymous visitor may read an event now, with the data if it was reduced.

    `bug` is the bug of an event that must not be read, if that bug is public.
    """

    send: bool
    data: Mapping[str, Any] | None = None
    bug: int | None = None


def has_extension(folder: Path) -> bool:
    """Return whether there is a Bugzilla with the extension; OSError if we may not look."""
    return (folder / "Bugzilla.pm").is_file() and (folder / SCRIPT).is_file()


def command_for(folder: Path, perl: str = DEFAULT_PERL) -> list[str]:
    """Return the command that serves a Bugzilla; ConfigError if the folder is not one, or lacks the extension."""
    program = shutil.which(perl)
    if program is None:
        raise ConfigError(f"there is no Perl at {perl!r}; pass the one that runs Bugzilla with --perl")
    if not (folder / "Bugzilla.pm").is_file():
        raise ConfigError(f"{folder} is not the folder of a Bugzilla: there is no Bugzilla.pm in it")
    script = folder / SCRIPT
    if not script.is_file():
        raise ConfigError(
            f"the extension is not in this Bugzilla: there is no {script}; link the folder SourcePulse into "
            f"{folder / 'extensions'} and run checksetup.pl"
        )
    return [program, str(script), str(folder)]


class Drainer:
    """A connection to one drain.pl; close it, or use it as a context manager.

    Every request raises PausedError, LockedError, SetupError or DrainerError according to the answer of drain.pl, and
    DrainerGoneError if there is none.
    """

    def __init__(self, child: Child) -> None:
        self._child = child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End drain.pl; may be called again."""
        self._child.close()

    def hello(self) -> Hello:
        """Ask for the identity of the Bugzilla; SetupError if it has another version of the protocol."""
        answer = self._ask("hello")
        if answer.get("protocol") != PROTOCOL:
            raise SetupError(
                f"the extension in this Bugzilla does not speak version {PROTOCOL} of the protocol: "
                "install the extension and the sidecar from the same sourcepulse"
            )
        site = _member(answer, "site", str)
        if not _SITE.fullmatch(site):
            raise SetupError("the parameter sourcepulse_site_id is not a UUID; run checksetup.pl")
        secret = answer.get("secret")
        if not isinstance(secret, str) or len(secret) < SECRET_MIN_DIGITS or not _SECRET.fullmatch(secret):
            raise SetupError(
                f"the parameter sourcepulse_secret must have {SECRET_MIN_DIGITS} hex digits; run checksetup.pl"
            )
        return Hello(
            site=site,
            secret=secret,
            bugzilla=_member(answer, "bugzilla", str),
            socket=Path(_member(answer, "socket", str)),
            group=None if answer.get("group") is None else _member(answer, "group", str),
            enabled=_member(answer, "enabled", bool),
            requirelogin=_member(answer, "requirelogin", bool),
        )

    def lock(self) -> None:
        """Acquire the lock that only one drainer of a Bugzilla can hold; LockedError if another holds it."""
        self._ask("lock")

    def next(self, count: int = ROWS_AT_ONCE) -> Rows:
        answer = self._ask("next", count=count)
        rows = _rows(answer)
        if any(type(row.get("id")) is not int for row in rows):
            raise _invalid("next")
        return Rows(rows, _member(answer, "depth", int))

    def ack(self, ids: Sequence[int]) -> int:
        """Delete rows whose events are stored, and return how many there were."""
        return _member(self._ask("ack", ids=list(ids)), "deleted", int)

    def bury(self, row_id: int, reason: str) -> None:
        self._ask("bury", id=row_id, reason=reason)

    def retry(self) -> int:
        """Return all buried rows to the queue, and return how many there were."""
        return _member(self._ask("retry"), "rows", int)

    def stats(self) -> Stats:
        answer = self._ask("stats")
        return Stats(
            depth=_member(answer, "depth", int),
            buried=_member(answer, "buried", int),
            oldest_s=_number_or_none(answer, "oldest_s"),
            missed=_member(answer, "missed", int),
            silent_since=_number_or_none(answer, "silent_since"),
        )

    def found(self, count: int) -> None:
        """Forget the first `count` missed changes, because the history was searched for them."""
        self._ask("found", count=count)

    def check(self, events: Sequence[Mapping[str, Any]]) -> list[Judged]:
        """Return whether an anonymous visitor may read these events now; each has `type` and `data`."""
        verdicts = _member(self._ask("check", events=list(events)), "verdicts", list)
        if len(verdicts) != len(events):
            raise _invalid("verdicts")
        return [_judged(verdict) for verdict in verdicts]

    def tips(self) -> Mapping[str, Any]:
        """Return the marks of the present ends of the tables."""
        return _member(self._ask("tips"), "marks", dict)

    def recover(self, marks: Mapping[str, Any], count: int = ROWS_AT_ONCE) -> Page:
        """Return what Bugzilla recorded after the marks."""
        answer = self._ask("recover", marks=marks, count=count)
        return Page(_rows(answer), _member(answer, "marks", dict), _member(answer, "more", bool))

    def _ask(self, do: str, **members: Any) -> dict[str, Any]:
        answer = self._child.ask({"do": do, **members})
        if answer.get("ok") is True:
            return answer
        kind = _ERRORS.get(str(answer.get("code")), DrainerError)
        raise kind(f"drain.pl cannot do '{do}': {shorten(str(answer.get('error')))}")


def _invalid(what: str) -> DrainerError:
    return DrainerError(f"drain.pl sent an invalid answer ({what})")


def _member(answer: Mapping[str, Any], name: str, kind: type[_Value]) -> _Value:
    value = answer.get(name)
    # A bool is an int for isinstance.
    if type(value) is not kind:
        raise _invalid(name)
    return value


def _number_or_none(answer: Mapping[str, Any], name: str) -> int | None:
    return None if answer.get(name) is None else _member(answer, name, int)


def _rows(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = _member(answer, "rows", list)
    if not all(isinstance(row, dict) for row in rows):
        raise _invalid("rows")
    return rows


def _judged(verdict: Any) -> Judged:
    if not isinstance(verdict, dict):
        raise _invalid("verdicts")
    send, data, bug = _member(verdict, "send", bool), verdict.get("data"), verdict.get("bug")
    if not (data is None or (send and isinstance(data, dict))) or not (bug is None or type(bug) is int):
        raise _invalid("verdicts")
    return Judged(send, data, None if send else bug)
