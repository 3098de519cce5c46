# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Compare a RabbitMQ with what is wanted, and make it so: each object is written on its own and read back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, BrokerUnavailableError, SourcePulseError
from sourcepulse.operations.broker_setup.found import Found, State
from sourcepulse.operations.broker_setup.objects import Wanted, in_words
from sourcepulse.operations.broker_setup.passwords import HASHING, PasswordFile, hashed, is_hash_of

_LISTS = frozenset({"limit", "user limit", "topic permission"})


class RabbitmqSetup:
    """Works on the objects of one broker; users in `rotate` get a new password."""

    def __init__(
        self,
        api: Management,
        wanted: Sequence[Wanted],
        *,
        broker: BrokerUrl,
        folder: Path,
        rotate: Collection[str] = (),
    ) -> None:
        self._api = api
        self._wanted = wanted
        self._broker = broker
        self._folder = folder
        self._rotate = rotate

    def check(self) -> Iterator[Found]:
        """Yield how each object is; errors are raised, because what was not seen is not known."""
        for wanted in self._wanted:
            found = self._read(wanted)
            difference = self._difference(wanted, found)
            if found is None:
                yield Found(State.MISSING, wanted.kind, wanted.name, in_words(wanted))
            elif difference:
                yield Found(State.DIFFERS, wanted.kind, wanted.name, difference)
            else:
                # Its file may be at the host of the relay, so this is no difference.
                kept = "" if self._has_file(wanted) else f"; its password is not in {self.file_of(wanted).path}"
                yield Found(State.OK, wanted.kind, wanted.name, in_words(wanted) + kept)

    def apply(self) -> Iterator[Found]:
        """Make each object as it should be and yield what was done.

        What the broker refuses for one object does not keep it from the others. Once it does not answer, or a right is
        missing, nothing more is tried, and the rest is reported as not done.
        """
        ended = ""
        for wanted in self._wanted:
            if ended:
                yield Found(State.NOT_DONE, wanted.kind, wanted.name, in_words(wanted))
                continue
            try:
                yield self._make(wanted)
            except BrokerUnavailableError as error:
                ended = str(error)
                yield Found(State.FAILED, wanted.kind, wanted.name, ended, error)
            except SourcePulseError as error:
                yield Found(State.FAILED, wanted.kind, wanted.name, str(error), error)

    def create_password_files(self) -> None:
        """Create the files of all users that are missing at the broker, so that nothing is done if one cannot be."""
        for wanted in self._wanted:
            if wanted.user is not None and self._read(wanted) is None:
                self.file_of(wanted).read_or_create()

    def file_of(self, wanted: Wanted) -> PasswordFile:
        """Return the file for a user's password."""
        return password_file(wanted, folder=self._folder, broker=self._broker, management=self._api.url)

    def _make(self, wanted: Wanted) -> Found:
        former = self._read(wanted)
        is_rotated = wanted.user is not None and wanted.name in self._rotate and former is not None
        difference = self._difference(wanted, former)
        if former is not None and not difference and not is_rotated:
            return self._with_password(Found(State.OK, wanted.kind, wanted.name, in_words(wanted)), wanted)
        if wanted.user is not None:
            detail = self._write_user(wanted, former, difference, is_rotated=is_rotated)
        else:
            self._write(wanted, wanted.value)
            detail = in_words(wanted) if former is None else f"was different: {difference}"
        remaining = self._difference(wanted, self._read(wanted))
        if remaining:
            # Another password in the file is nothing that was asked to be changed.
            return Found(State.DIFFERS, wanted.kind, wanted.name, remaining)
        state = State.CREATED if former is None else State.CHANGED
        return self._with_password(Found(state, wanted.kind, wanted.name, detail), wanted)

    def _has_file(self, wanted: Wanted) -> bool:
        return wanted.user is None or self.file_of(wanted).read() is not None

    def _with_password(self, found: Found, wanted: Wanted) -> Found:
        """Return what was found, or that the password of a user of before is not known to us."""
        if self._has_file(wanted):
            return found
        unknown = f"exists; its password is not ours: --rotate {wanted.name} writes a new one"
        return found._replace(state=State.EXISTS, detail=f"{found.detail}; {unknown}")

    def _write(self, wanted: Wanted, value: Mapping[str, Any]) -> None:
        try:
            self._api.put(*wanted.path, value=value)
        except BrokerUnavailableError:
            raise
        except BrokerError as error:
            if wanted.kind != "exchange" or "inequivalent" not in str(error):
                raise
            raise BrokerError(
                f"{error}; RabbitMQ cannot change an exchange: when its consumers have read their queues, delete it "
                "and run this again, and restart the consumers, which bind their queues again"
            ) from None

    def _write_user(
        self, wanted: Wanted, former: Mapping[str, Any] | None, difference: str, *, is_rotated: bool
    ) -> str:
        file = self.file_of(wanted)
        if former is not None and not is_rotated:
            # Without a hash, RabbitMQ would remove the password.
            kept = {key: former[key] for key in ("password_hash", "hashing_algorithm")}
            self._write(wanted, {**wanted.value, **kept})
            return f"was different: {difference}; keeps its password"
        target = file.next() if is_rotated else file
        password = target.read_or_create()
        self._write(wanted, {**wanted.value, "password_hash": hashed(password), "hashing_algorithm": HASHING})
        if is_rotated:
            file.replace_by(target)
        return f"{'new ' if is_rotated else ''}password in {file.path}"

    def _read(self, wanted: Wanted) -> Mapping[str, Any] | None:
        if wanted.kind not in _LISTS:
            found: Mapping[str, Any] | None = self._api.find(*wanted.path)
            return found
        if wanted.kind == "topic permission":
            rows = self._api.find(*wanted.path) or []
            return next((row for row in rows if row.get("exchange") == wanted.value["exchange"]), None)
        *path, name = wanted.path
        rows = self._api.find(*path) or []
        limits: Mapping[str, Any] = rows[0].get("value", {}) if rows else {}
        return {"value": limits[name]} if name in limits else None

    def _difference(self, wanted: Wanted, found: Mapping[str, Any] | None) -> str:
        """Return how an object differs from what is wanted; "" if it does not, or is missing."""
        if found is None:
            return ""
        differences = [
            f"{key} is {_shown(found.get(key))}, not {_shown(value)}"
            for key, value in wanted.value.items()
            if _comparable(found.get(key)) != _comparable(value)
        ]
        if wanted.user is not None:
            differences += self._other_password(wanted, found)
        return "; ".join(differences)

    def _other_password(self, wanted: Wanted, found: Mapping[str, Any]) -> list[str]:
        file = self.file_of(wanted)
        password = file.read()
        if password is None or found.get("hashing_algorithm") != HASHING:
            return []
        if is_hash_of(str(found.get("password_hash")), password):
            return []
        return [f"{file.path} has another password; --rotate {wanted.name} makes a new one"]


def password_file(wanted: Wanted, *, folder: Path, broker: BrokerUrl, management: BrokerUrl | None) -> PasswordFile:
    """Return the file for a user: the broker's URL for a relay or a consumer, that of the API for a monitor."""
    if wanted.user is not None and not wanted.user.role.stream:
        return PasswordFile(folder / f"{wanted.name}.management", management or broker, wanted.name)
    return PasswordFile(folder / f"{wanted.name}.broker", broker, wanted.name)


def _comparable(value: Any) -> Any:
    # Tags are a list in 3.9 and later, and a text before.
    return ",".join(value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    value = _comparable(value)
    return repr(value) if isinstance(value, str) else str(value)
