# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The requests that drain.pl understands, with answers that are checked; PROTOCOL.md describes them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sourcepulse.errors import ConfigError
from sourcepulse.view import shorten
from sourcepulse_bugzilla.child import Child
from sourcepulse_bugzilla.errors import DrainerError, DrainerGoneError, LockedError, PausedError, SetupError

PROTOCOL = 1
#: Where the extension is in a Bugzilla.
SCRIPT = Path("extensions/SourcePulse/bin/drain.pl")
DEFAULT_PERL = "perl"
ROWS_AT_ONCE = 200

_SITE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ERRORS: Mapping[str, type[DrainerError]] = {"paused": PausedError, "locked": LockedError, "setup": SetupError}


class Hello(NamedTuple):
    """Which Bugzilla this is, and where it sends its nudges.

    `urlbase` is how the URLs of its own bugs begin, `bug_fields` are the custom fields that hold numbers of its bugs;
    both are empty if it does not say.
    """

    site: str
    bugzilla: str
    socket: Path
    group: str | None
    enabled: bool
    requirelogin: bool
    urlbase: str = ""
    bug_fields: tuple[str, ...] = ()


class Rows(NamedTuple):
    """The oldest rows that wait, and how many wait in all."""

    rows: Sequence[Mapping[str, Any]]
    depth: int


class Stats(NamedTuple):
    """The state of the table; `oldest_s` is an age in seconds."""

    depth: int
    buried: int
    oldest_s: int | None
    missed: int


class Page(NamedTuple):
    """What Bugzilla recorded behind some marks, in the form of rows, and the marks to go on with."""

    rows: Sequence[Mapping[str, Any]]
    marks: Mapping[str, Any]
    more: bool


class Visible(NamedTuple):
    """What an anonymous visitor sees now: `public`, `private` or `gone`, by number."""

    bugs: Mapping[str, str]
    comments: Mapping[str, str]
    attachments: Mapping[str, str]


def command_for(folder: Path, perl: str = DEFAULT_PERL) -> list[str]:
    """Give the command that serves a Bugzilla; ConfigError if the folder is none, or lacks the extension."""
    program = shutil.which(perl)
    if program is None:
        raise ConfigError(f"there is no Perl at {perl!r}; name the one that runs Bugzilla with --perl")
    if not (folder / "Bugzilla.pm").is_file():
        raise ConfigError(f"{folder} is no folder of a Bugzilla: there is no Bugzilla.pm in it")
    script = folder / SCRIPT
    if not script.is_file():
        raise ConfigError(
            f"the extension is not in this Bugzilla: there is no {script}; link the folder SourcePulse into "
            f"{folder / 'extensions'} and run checksetup.pl"
        )
    return [program, str(script), str(folder)]


class Drainer:
    """One drain.pl at work; close it, or use it as a context manager.

    Every request raises PausedError, LockedError, SetupError or DrainerError as drain.pl answers, and DrainerGoneError
    if it does not.
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
        """Have drain.pl end; may be called again."""
        self._child.close()

    def hello(self) -> Hello:
        """Ask whom we talk to; SetupError if it speaks another version of the protocol."""
        answer = self._ask("hello")
        if answer.get("protocol") != PROTOCOL:
            raise SetupError(
                f"the extension in this Bugzilla does not speak version {PROTOCOL} of the protocol: "
                "install the extension and the sidecar from the same sourcepulse"
            )
        site = _text(answer, "site")
        if not _SITE.fullmatch(site):
            raise SetupError("the parameter sourcepulse_site_id is no UUID; run checksetup.pl")
        return Hello(
            site=site,
            bugzilla=_text(answer, "bugzilla"),
            socket=Path(_text(answer, "socket")),
            group=None if answer.get("group") is None else _text(answer, "group"),
            enabled=_truth(answer, "enabled"),
            requirelogin=_truth(answer, "requirelogin"),
            urlbase=_text(answer, "urlbase") if "urlbase" in answer else "",
            bug_fields=_names(answer, "bug_fields") if "bug_fields" in answer else (),
        )

    def lock(self) -> None:
        """Take the lock that only one drainer of a Bugzilla can have; LockedError if another has it."""
        self._ask("lock")

    def next(self, count: int = ROWS_AT_ONCE) -> Rows:
        """Give the oldest rows that wait."""
        answer = self._ask("next", count=count)
        rows = _rows(answer)
        if any(type(row.get("id")) is not int for row in rows):
            raise _senseless("next")
        return Rows(rows, _number(answer, "depth"))

    def ack(self, ids: Sequence[int]) -> int:
        """Delete rows whose events are stored, and give how many there were."""
        return _number(self._ask("ack", ids=list(ids)), "deleted")

    def bury(self, row_id: int, reason: str) -> None:
        """Set a row aside with its reason."""
        self._ask("bury", id=row_id, reason=reason)

    def retry(self) -> int:
        """Have buried rows wait again, and give how many there were."""
        return _number(self._ask("retry"), "rows")

    def stats(self) -> Stats:
        """Give the state of the table."""
        answer = self._ask("stats")
        oldest = answer.get("oldest_s")
        return Stats(
            depth=_number(answer, "depth"),
            buried=_number(answer, "buried"),
            oldest_s=None if oldest is None else _number(answer, "oldest_s"),
            missed=_number(answer, "missed"),
        )

    def found(self, count: int) -> None:
        """Have the first so many of the missed changes forgotten: the history was searched for them."""
        self._ask("found", count=count)

    def visible(self, bugs: Sequence[int], comments: Sequence[int], attachments: Sequence[int]) -> Visible:
        """Ask what an anonymous visitor sees now."""
        answer = self._ask("visible", bugs=list(bugs), comments=list(comments), attachments=list(attachments))
        return Visible(*(_object(answer, name) for name in Visible._fields))

    def tips(self) -> Mapping[str, Any]:
        """Give where the tables end now."""
        return _object(self._ask("tips"), "marks")

    def recover(self, marks: Mapping[str, Any], count: int = ROWS_AT_ONCE) -> Page:
        """Give what Bugzilla recorded behind the marks."""
        answer = self._ask("recover", marks=marks, count=count)
        return Page(_rows(answer), _object(answer, "marks"), _truth(answer, "more"))

    def _ask(self, do: str, **members: Any) -> dict[str, Any]:
        answer = self._child.ask({"do": do, **members})
        if answer.get("ok") is True:
            return answer
        kind = _ERRORS.get(str(answer.get("code")), DrainerError)
        raise kind(f"drain.pl cannot do '{do}': {shorten(str(answer.get('error')))}")


def open_drainer(child: Child) -> tuple[Drainer, Hello]:
    """Give a drainer that has said hello; it is closed if that fails."""
    drainer = Drainer(child)
    try:
        return drainer, drainer.hello()
    except BaseException:
        with suppress(DrainerGoneError):
            drainer.close()
        raise


def _senseless(what: str) -> DrainerError:
    return DrainerError(f"drain.pl gave an answer that makes no sense ({what})")


def _number(answer: Mapping[str, Any], name: str) -> int:
    value = answer.get(name)
    if type(value) is not int:
        raise _senseless(name)
    return value


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise _senseless(name)
    return value


def _truth(answer: Mapping[str, Any], name: str) -> bool:
    value = answer.get(name)
    if not isinstance(value, bool):
        raise _senseless(name)
    return value


def _names(answer: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = answer.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _senseless(name)
    return tuple(value)


def _object(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = answer.get(name)
    if not isinstance(value, dict):
        raise _senseless(name)
    return value


def _rows(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = answer.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _senseless("rows")
    return rows
