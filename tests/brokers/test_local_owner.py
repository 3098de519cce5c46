# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A subscriber that comes before the first event does not make a log that the relay's user cannot open."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.brokers.embedded_log import log_url, message, publish

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for two users")

PUBLISHER, SUBSCRIBER, GROUP = 65_501, 65_502, 65_500

#: Other users may not be able to run this interpreter, so that it drops its rights when all is loaded.
SUBSCRIBE = """
import os, sys
import sourcepulse.brokers.file.subscription, sourcepulse.relay.streams
from sourcepulse import Consumer
from sourcepulse.errors import SourcePulseError
consumer = Consumer(sys.argv[1])
os.setgroups([int(sys.argv[4])]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
try:
    consumer.open()
    print("subscribed")
except SourcePulseError as error:
    print(error)
"""
PUBLISH = """
import os, sys
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import message, publish
os.setgroups([int(sys.argv[4])]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
print(publish(BrokerUrl.parse(sys.argv[1]), [message(1)])[0].outcome.value)
"""
HERE = Path(__file__).parents[2]


def as_user(user: int, program: str, url: str, *, group: int = GROUP) -> str:
    command = [sys.executable, "-c", program, url, str(user), str(group), str(GROUP)]
    path = os.pathsep.join([str(HERE / "shared"), str(HERE / "tests")])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or done.stderr


@pytest.fixture
def folder() -> Iterator[Path]:
    # Other users cannot enter pytest's own folders.
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        made = Path(above) / "shared"
        made.mkdir()
        os.chown(made, PUBLISHER, GROUP)
        made.chmod(0o2770)
        yield made


def test_a_log_that_a_subscriber_makes_is_the_group_s(folder: Path) -> None:
    url = str(log_url(folder))
    assert as_user(SUBSCRIBER, SUBSCRIBE, url, group=SUBSCRIBER) == "subscribed"
    status = (folder / "log.db").stat()
    assert (status.st_gid, status.st_mode & 0o777) == (GROUP, 0o660)
    assert as_user(PUBLISHER, PUBLISH, url, group=PUBLISHER) in ("delivered", "unroutable")


def test_a_subscriber_that_would_lock_the_publisher_out_is_refused_with_a_sentence(folder: Path) -> None:
    folder.chmod(0o770)
    assert "let the relay create it first" in as_user(SUBSCRIBER, SUBSCRIBE, str(log_url(folder)), group=SUBSCRIBER)
    assert list(folder.iterdir()) == []


def test_a_log_that_root_makes_belongs_to_the_owner_of_the_folder(folder: Path) -> None:
    folder.chmod(0o755)
    publish(log_url(folder), [message(1)])
    assert {path.stat().st_uid for path in folder.iterdir()} == {PUBLISHER}
    assert as_user(PUBLISHER, PUBLISH, str(log_url(folder))) in ("delivered", "unroutable")
