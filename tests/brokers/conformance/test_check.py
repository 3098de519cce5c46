# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse check` finds what would keep events from a broker, and publishes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest, RemoteBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import is_silent, take
from support.brokers.rabbitmq import NARROW, READER, RELAY, RabbitNode


def checked(url: str, folder: Path, *options: str) -> int:
    broker_file = folder / "broker"
    broker_file.write_text(url)
    broker_file.chmod(0o600)
    return main(["check", "--broker-file", str(broker_file), *options])


def options_of(broker: BrokerUnderTest) -> str:
    node = getattr(broker, "node", None)
    return f"?amqp_port={node.port}" if isinstance(broker, StompRabbitBroker) and isinstance(node, RabbitNode) else ""


def test_a_broker_that_takes_events_is_well_and_gets_none(
    broker: BrokerUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = broker.consumer("#")
    assert checked(f"{broker.url}{options_of(broker)}", tmp_path, "--exchange", broker.exchange) == 0
    said = capsys.readouterr().out
    assert said.startswith("ok public broker")
    assert ("can be written to" if isinstance(broker, FileBroker) else "lets us publish") in said
    broker.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    assert is_silent(consumer)
    assert consumer.stats.bad == 0


def test_a_wrong_password_is_found(remote: RemoteBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = remote.url_of(user=(RELAY[0], "wr0ng"), options=options_of(remote))
    assert checked(url, tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith("!! public broker")
    assert "refuses" in said
    assert "wr0ng" not in said


@pytest.mark.parametrize(
    ("user", "key", "code"),
    [(RELAY, "hg.push.r", 0), (READER, "hg.push.r", 1), (NARROW, "hg.push.r", 0), (NARROW, "system.x.y", 1)],
)
def test_the_right_to_publish_under_a_key_is_found(
    remote: RemoteBroker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    user: tuple[str, str],
    key: str,
    code: int,
) -> None:
    remote.prepare("sourcepulse")
    assert checked(remote.url_of(user=user, options=options_of(remote)), tmp_path, "--key", key) == code
    assert ("refuse" in capsys.readouterr().out) == bool(code)


def test_an_exchange_that_is_missing_and_may_not_be_made_is_found(
    remote: RemoteBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = remote.url_of(user=RELAY, options=options_of(remote))
    assert checked(url, tmp_path, "--exchange", "mistyped") == 1
    said = capsys.readouterr().out
    assert "!! public broker" in said
    assert "mistyped" in said
