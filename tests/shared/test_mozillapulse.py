# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""MozillaPulse's class over our consumer; docs/subscribing.md has the program that is run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError
from sourcepulse.mozillapulse import GenericConsumer, Message
from support.brokers.embedded_log import log_url, publish_events, push_event


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BrokerUrl:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return log_url(tmp_path)


def test_a_callback_gets_pulse_messages_and_its_queue_is_the_applabel(url: BrokerUrl) -> None:
    Consumer(url, ["hg.#"], queue="my-tool", durable=True).open()
    publish_events(url, push_event(1), push_event(2))
    got: list[dict[str, Any]] = []

    def callback(body: dict[str, Any], message: Message) -> None:
        got.append(body)
        message.ack()
        if len(got) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    pulse = GenericConsumer(str(url), applabel="my-tool", topic="nothing")
    pulse.configure(topic=["hg.#"], durable=True)
    pulse.listen(callback)
    assert [body["payload"] for body in got] == [{"number": 1}, {"number": 2}]
    meta = got[0]["_meta"]
    assert (meta["exchange"], meta["routing_key"]) == ("sourcepulse", "hg.push.repo")
    assert meta["sent"] == push_event(1).time
    with Consumer(url, ["hg.#"], queue="my-tool", durable=True, timeout=0.3) as consumer:
        assert list(consumer) == []


def test_missing_arguments_are_refused_at_once(url: BrokerUrl) -> None:
    with pytest.raises(ConfigError, match="callback="):
        GenericConsumer(str(url)).listen()
    with pytest.raises(ConfigError, match="applabel="):
        GenericConsumer(str(url), durable=True, callback=print).listen()
