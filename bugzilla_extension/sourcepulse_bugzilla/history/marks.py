# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How far Bugzilla's history was compared with what was published: a small file beside the outbox."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sourcepulse.errors import OutboxWriteError
from sourcepulse.outbox.files import replace_file

MODE = 0o600
MARKS_MAX_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class Marks(NamedTuple):
    """The marks as drain.pl returned them, and how many changes it had missed when all were last compared."""

    marks: Mapping[str, Any]
    missed: int


class MarksFile:
    """The marks of one Bugzilla, by its site id, in the folder of an outbox.

    It is a separate file so that it survives a repair or replacement of the outbox, and nothing is published twice.
    """

    def __init__(self, outbox: Path, site: str) -> None:
        self.path = outbox.with_name(f"{outbox.name}.bugzilla-{site}.json")

    def read(self) -> Marks | None:
        """Return the marks; None if there are none yet or they cannot be read."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                value = json.loads(file.read(MARKS_MAX_BYTES))
            return Marks(dict(value["marks"]), int(value["missed"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            logger.error("the marks in %s cannot be read (%s); the comparison starts from scratch", self.path, error)
            return None

    def write(self, marks: Marks) -> None:
        """Replace the file as a whole; OutboxWriteError if it cannot be written, and then the old one is kept."""
        content = json.dumps(marks._asdict()).encode("ascii") + b"\n"
        try:
            replace_file(self.path, content, mode=MODE, durable=True)
        except OSError as error:
            raise OutboxWriteError(f"the marks cannot be written to {self.path}: {error.strerror}") from None
