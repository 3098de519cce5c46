# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write, or compare, ActiveMQ's configuration and a file with the login of each user; the broker is not asked."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse.operations.broker_setup.activemq import ADMIN, render
from sourcepulse.operations.broker_setup.found import Found, State
from sourcepulse.operations.broker_setup.objects import Plan
from sourcepulse.operations.broker_setup.passwords import PasswordFile

NAME = "activemq.xml"
_KEYSTORE = "CHANGE-ME-keystore"
_MODE = 0o600


class ActivemqSetup:
    """Works in one folder. An `activemq.xml` that is there is never overwritten: it may have been changed by hand."""

    def __init__(
        self, template: str, plan: Plan, *, broker: BrokerUrl, folder: Path, rotate: Collection[str] = ()
    ) -> None:
        names = (ADMIN, *(user.name for user in plan.users if user.role.stream))
        self._template = template
        self._plan = plan
        self._path = folder / NAME
        self._files = {name: PasswordFile(folder / f"{name}.broker", broker, name) for name in names}
        self._rotate = rotate

    def check(self) -> Iterator[Found]:
        """Yield how each file is."""
        passwords = {name: file.read() for name, file in self._files.items()}
        for name, file in self._files.items():
            state = State.MISSING if passwords[name] is None else State.OK
            yield Found(state, "user", name, f"password in {file.path}")
        known = {name: password for name, password in passwords.items() if password is not None}
        if not self._path.exists():
            yield Found(State.MISSING, "file", NAME, str(self._path))
        elif len(known) < len(passwords):
            yield Found(State.DIFFERS, "file", NAME, "cannot be compared before every user has a password")
        else:
            yield self._compared(render(self._template, self._plan, known))

    def apply(self) -> Iterator[Found]:
        """Create what is missing and yield what was done."""
        passwords = {}
        for name, file in self._files.items():
            former = file.read()
            if former is not None and name in self._rotate:
                fresh = file.next()
                passwords[name] = fresh.read_or_create()
                file.replace_by(fresh)
                yield Found(State.CHANGED, "user", name, f"new password in {file.path}")
                continue
            passwords[name] = file.read_or_create()
            state = State.CREATED if former is None else State.OK
            yield Found(state, "user", name, f"password in {file.path}")
        text = render(self._template, self._plan, passwords)
        if not self._path.exists():
            _write(self._path, text)
            detail = f"{self._path}; replace {_KEYSTORE} in it by the password of broker.p12, then restart ActiveMQ"
            yield Found(State.CREATED, "file", NAME, detail)
            return
        found = self._compared(text)
        if found.state is not State.OK:
            beside = self._path.with_name(f"{NAME}.new")
            beside.unlink(missing_ok=True)
            _write(beside, text)
            found = found._replace(detail=f"{found.detail}; what is wanted is in {beside}: compare, move it, restart")
        yield found

    def _compared(self, text: str) -> Found:
        try:
            there = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the file {self._path} cannot be read: {error}") from None
        # The key store's password is the admin's own.
        before, _, after = text.partition(_KEYSTORE)
        if there.startswith(before) and there.endswith(after) and len(there) >= len(before) + len(after):
            return Found(State.OK, "file", NAME, str(self._path))
        return Found(State.DIFFERS, "file", NAME, f"{self._path} is not what these users need")


def _write(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, _MODE), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SourcePulseError(f"the file {path} cannot be written: {error.strerror}") from None
