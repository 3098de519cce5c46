# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The receivers of the examples as processes, started by the commands that their page prints."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import free_port
from support.fenced_blocks import ROOT, blocks

FOLDER = ROOT / "shared" / "docs" / "examples"
PAGE = "shared/docs/examples/README.md"
PROGRAMS = ("webhook_receiver.py", "webhook_receiver.pl", "webhook_gitlab.py")
LIMIT_SECONDS = 60.0
#: What the page prints, and what a test has instead.
PRINTED_PORT = "8000"


class ExampleReceiver:
    """One of the programs in a folder of its own, with its secrets.

    >>> with ExampleReceiver("webhook_receiver.pl", tmp_path, [secret]) as receiver:
    ...     assert receiver.post(headers, body) == 204
    """

    def __init__(self, program: str, folder: Path, secrets: Sequence[str]) -> None:
        self.folder = folder
        folder.mkdir()
        for each in (*PROGRAMS[:2], program):
            shutil.copy(FOLDER / each, folder / each)
        self.set_secrets(secrets)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/in"
        #: What `allow` of the settings must contain for `url`.
        self.allowed = f"127.0.0.1:{self.port}"
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._printed(program), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> ExampleReceiver:
        wait_until(self._answers, LIMIT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def set_secrets(self, secrets: Sequence[str]) -> None:
        """Write the file of its secrets."""
        (self.folder / "secrets").write_text("".join(f"{secret}\n" for secret in secrets), encoding="ascii")

    def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """POST a body, and return the status of the answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_SECONDS)) as connection:
            connection.request("POST", "/in", body, dict(headers))
            answer = connection.getresponse()
            answer.read()
            return answer.status

    @property
    def lines(self) -> list[str]:
        """What it printed so far."""
        return self._output.read_text(encoding="utf-8").splitlines()

    def printed(self, text: str) -> int:
        """Return how many of its lines contain a text."""
        return sum(text in line for line in self.lines)

    def wait_for(self, count: int, text: str) -> None:
        """Wait until so many of its lines contain a text."""
        wait_until(lambda: self.printed(text) >= count, LIMIT_SECONDS)

    def _printed(self, program: str) -> list[str]:
        (command,) = [
            words
            for block in blocks("sh")
            if block.page == PAGE
            for words in block.commands()
            if program in words and words[0] in ("python3", "perl")
        ]
        words = [str(self.port) if word == PRINTED_PORT else word for word in command]
        return [sys.executable if words[0] == "python3" else words[0], *words[1:]]

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._output.read_text(encoding="utf-8")
        try:
            return self.post({}, b"{}") == 401
        except ConnectionError:
            return False


def signed(secrets: Sequence[str], webhook_id: str, body: bytes, *, at: float) -> dict[str, str]:
    """Return the headers of a POST, with signatures that the official library makes."""
    when = datetime.fromtimestamp(at, UTC)
    signatures = [Webhook(secret).sign(webhook_id, when, body.decode()) for secret in secrets]
    return {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(signatures),
    }


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as compact JSON, as an event is sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
