# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse dead-letters`: what a consumer rejected is listed, shown, delivered once more, or dropped."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp
import pytest

from sourcepulse import Consumer
from sourcepulse.cli.main import main
from sourcepulse.events.wire import encode
from support.brokers.amqp import admin
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import RabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import WAIT_SECONDS, is_silent, message, next_event, receive, take
from support.brokers.stomp_wire import StompWire

#: More than are requeued in one go.
MANY = 150
OK, USAGE, NOTHING = 0, 2, 3

#: Runs the command and returns its exit code and the lines that it printed.
Command = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def broker_file(broker: BrokerUnderTest, tmp_path: Path) -> Path:
    path = tmp_path / "broker"
    path.write_text(broker.url)
    path.chmod(0o600)
    return path


@pytest.fixture
def command(broker: BrokerUnderTest, broker_file: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(action: str, *arguments: str) -> tuple[int, list[str]]:
        code = main(["dead-letters", action, broker.queue, *arguments, "--broker-file", str(broker_file)])
        return code, capsys.readouterr().out.splitlines()

    return run


def reject(consumer: Consumer, count: int, reason: str) -> None:
    for _ in range(count):
        next_event(consumer)
        consumer.reject(reason)


def test_what_is_requeued_comes_to_its_consumer_as_it_came_at_first(broker: BrokerUnderTest, command: Command) -> None:
    events = [push_event(number) for number in (1, 2, 3)]
    # Several patterns are several queues at ActiveMQ.
    consumer = broker.consumer("hg.push.#", "hg.tag.#")
    broker.publish_events(*events)
    reject(consumer, 2, "not today")
    assert take(consumer, 1) == [3]
    code, lines = command("list", "--json")
    assert code == OK
    assert [json.loads(line) for line in lines] == [
        {"id": event.id, "type": "hg.push.v1", "routing_key": "hg.push.repo", "reason": "not today"}
        for event in events[:2]
    ]
    code, lines = command("list", "--limit", "1")
    assert (code, lines[0].split()) == (OK, ["ID", "TYPE", "ROUTING", "KEY", "REASON"])
    assert lines[1:] == [f"{events[0].id}  hg.push.v1  hg.push.repo  not today"]
    code, lines = command("show", events[1].id)
    assert (code, json.loads("".join(lines))["event"]) == (OK, json.loads(encode(events[1])))
    assert command("requeue", events[1].id) == (OK, [f"{events[1].id}  hg.push.v1  hg.push.repo  not today"])
    assert next_event(consumer) == events[1]
    consumer.acknowledge()
    assert is_silent(consumer)
    # Without --apply only what would be done is printed.
    for action in ("drop", "requeue"):
        assert command(action, "--all") == (OK, [f"{events[0].id}  hg.push.v1  hg.push.repo  not today"])
    assert is_silent(consumer)
    assert command("requeue", "--all", "--apply") == (OK, [f"{events[0].id}  hg.push.v1  hg.push.repo  not today"])
    assert next_event(consumer) == events[0]
    consumer.acknowledge()
    assert (is_silent(consumer), consumer.stats.bad) == (True, 0)
    assert broker.take_dead(broker.queue) == []


def test_what_waits_for_a_consumer_that_is_away_comes_with_what_is_requeued(
    broker: BrokerUnderTest, command: Command
) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(push_event(1))
    reject(consumer, 1, "because")
    consumer.close()
    broker.publish_events(push_event(2))
    assert command("requeue", "--all", "--apply")[0] == OK
    assert sorted(take(broker.consumer("hg.#"), 2)) == [1, 2]


def test_what_is_not_an_event_has_a_digest_as_its_id_and_can_be_dropped(
    broker: BrokerUnderTest, command: Command
) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish(message(7, body=b"no event\x00\xff"), message(8, body=b"nor this"))
    broker.publish_events(push_event(1), push_event(2))
    reject(consumer, 2, "because")
    ids = [line.split()[0] for line in command("list")[1][1:]]
    first, second = ids[:2]
    assert first.startswith("raw:")
    assert len(set(ids)) == 4
    assert json.loads("".join(command("show", first)[1]))["body"] == "no event\x00\\xff"
    code, lines = command("drop", second, ids[2])
    assert (code, [line.split()[0] for line in lines]) == (OK, [second, ids[2]])
    # It is refused once more.
    assert command("requeue", first)[0] == OK
    assert is_silent(consumer)
    assert consumer.stats.bad == 3
    code, lines = command("drop", "--all", "--apply")
    assert (code, [line.split()[0] for line in lines]) == (OK, [ids[3], first])
    assert broker.take_dead(broker.queue) == []


def put_aside_alike(broker: BrokerUnderTest, count: int) -> None:
    """Make a consumer reject messages that are equal, so that their dead letters have one id."""
    source = broker.subscription(broker.spec("hg.#"))
    broker.publish(*(message(number, body=b"ping") for number in range(count)))
    for _ in range(count):
        source.reject(receive(source, 1)[0], "because")
    source.close()


@contextmanager
def rejecting(broker: BrokerUnderTest, count: int) -> Iterator[None]:
    """Run a consumer that rejects whatever arrives, until the end, and then until it rejected so many."""
    stop = threading.Event()
    deadline = time.monotonic() + WAIT_SECONDS

    def reject_all() -> None:
        source = broker.subscription(broker.spec("hg.#"))
        rejected = 0
        while time.monotonic() < deadline and (rejected < count or not stop.is_set()):
            if (delivery := source.receive(0.1)) is not None:
                source.reject(delivery, "again")
                rejected += 1

    thread = threading.Thread(target=reject_all)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WAIT_SECONDS)


def test_all_dead_letters_are_dropped_though_they_share_one_id(broker: BrokerUnderTest, command: Command) -> None:
    put_aside_alike(broker, MANY)
    code, lines = command("drop", "--all", "--apply")
    assert (code, len(lines), len(set(lines))) == (OK, MANY, 1)
    assert broker.take_dead(broker.queue) == []


def test_all_dead_letters_are_requeued_once_though_they_share_one_id_and_are_rejected_again(
    broker: BrokerUnderTest, command: Command
) -> None:
    put_aside_alike(broker, MANY)
    with rejecting(broker, MANY):
        code, lines = command("requeue", "--all", "--apply")
    assert (code, len(lines)) == (OK, MANY)
    assert all(line.endswith("because") for line in lines)
    assert [letter.reason for letter in broker.take_dead(broker.queue)] == ["again"] * MANY


def test_bad_input_changes_nothing_and_is_named(
    broker: BrokerUnderTest, broker_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*arguments: str) -> tuple[int, str]:
        code = main(["dead-letters", *arguments, "--broker-file", str(broker_file)])
        return code, capsys.readouterr().err

    consumer = broker.consumer("hg.#")
    assert refusal("list", broker.queue)[0] == NOTHING
    code, text = refusal("drop", "no-such-queue", "--all", "--apply")
    assert (code, "dead letters" in text) == (NOTHING, True)
    assert refusal("requeue", "no-such-queue", "--all", "--apply") == (code, text)
    broker.publish_events(push_event(1))
    reject(consumer, 1, "because")
    for action in ("requeue", "drop"):
        code, text = refusal(action, broker.queue)
        assert (code, "use --all" in text) == (USAGE, True)
        assert refusal(action, broker.queue, push_event(1).id, "--all", "--apply")[0] == USAGE
    code, text = refusal("drop", broker.queue, push_event(1).id, "no-such-id")
    assert (code, "nothing was done: no-such-id" in text) == (NOTHING, True)
    assert len(broker.dead(1)) == 1


@pytest.mark.parametrize("broker", ["amqp", "stomp-rabbitmq"], indirect=True)
def test_dead_letters_stay_where_their_queue_is_gone(
    broker: BrokerUnderTest, broker_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(push_event(1))
    reject(consumer, 1, "because")
    consumer.close()
    broker.remove_queue()
    assert (
        main(["dead-letters", "requeue", broker.queue, "--all", "--apply", "--broker-file", str(broker_file)])
        == NOTHING
    )
    assert "there is no queue" in capsys.readouterr().err
    assert len(broker.dead(1)) == 1


def test_a_kill_in_the_middle_of_a_requeue_loses_nothing(broker: BrokerUnderTest, broker_file: Path) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(*(push_event(number) for number in range(1, MANY + 1)))
    reject(consumer, MANY, "because")
    consumer.close()
    program = [sys.executable, "-m", "sourcepulse.cli", "dead-letters", "requeue", broker.queue, "--all", "--apply"]
    program += ["--broker-file", str(broker_file)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert process.stdout is not None
    # The first are back in the queue.
    assert process.stdout.readline()
    process.kill()
    process.wait(WAIT_SECONDS)
    process.stdout.close()
    reader = broker.consumer("hg.#", state=":memory:")
    found: set[int] = set()
    while (event := reader.receive(1.0)) is not None:
        found.add(event.data["number"])
        reader.acknowledge()
    assert found
    found.update(json.loads(letter.body)["data"]["number"] for letter in broker.take_dead(broker.queue))
    assert found == set(range(1, MANY + 1))


def test_nothing_is_dropped_that_could_not_be_printed(broker: BrokerUnderTest, broker_file: Path) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(push_event(1))
    reject(consumer, 1, "because")
    program = [sys.executable, "-m", "sourcepulse.cli", "dead-letters", "drop", broker.queue, "--all", "--apply"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*program, "--broker-file", str(broker_file)], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.returncode == 1, done.stderr
    assert len(broker.dead(1)) == 1


@pytest.mark.parametrize("broker", ["stomp-activemq"], indirect=True)
@pytest.mark.parametrize("ending", ["", ",Consumer.other.VirtualTopic.x.>"])
def test_a_forged_dead_letter_is_not_requeued_to_the_queue_of_another(
    broker: ActiveMqBroker, broker_file: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    own = f"Consumer.{broker.queue}.VirtualTopic.{broker.exchange}.>{ending}"
    queue = own if ending else f"Consumer.other.VirtualTopic.{broker.exchange}.>"
    with StompWire(broker.node.port, (broker.plain.user, broker.plain.password)) as wire:
        headers = {"destination": f"/queue/Consumer.{broker.queue}.dead", "x-queue": f"/queue/{queue}"}
        assert wire.request("SEND", headers, b"forged").command == "RECEIPT"
    assert (
        main(["dead-letters", "requeue", broker.queue, "--all", "--apply", "--broker-file", str(broker_file)])
        == NOTHING
    )
    assert "does not name the queue of this subscription" in capsys.readouterr().err
    assert len(broker.dead(1)) == 1


@pytest.mark.parametrize("broker", ["stomp-activemq"], indirect=True)
def test_a_dead_letter_that_names_no_queue_is_named_and_holds_up_no_other(
    broker: ActiveMqBroker, broker_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def requeue(*arguments: str) -> tuple[int, str, str]:
        code = main(["dead-letters", "requeue", broker.queue, *arguments, "--broker-file", str(broker_file)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    events = [push_event(number) for number in (1, 2, 3)]
    older, *others = (event.id for event in events)
    consumer = broker.consumer("hg.#")
    with StompWire(broker.node.port, (broker.plain.user, broker.plain.password)) as wire:
        headers = {"destination": f"/queue/Consumer.{broker.queue}.dead", "x-routing-key": "hg.push.repo"}
        assert wire.request("SEND", headers, encode(events[0])).command == "RECEIPT"
    broker.publish_events(*events[1:])
    reject(consumer, 2, "because")
    code, out, err = requeue(older, others[0])
    assert (code, out, f"not requeued: {older};" in err) == (NOTHING, "", True)
    code, out, err = requeue("--all", "--apply")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (NOTHING, others)
    assert f"not requeued: {older};" in err
    assert take(consumer, 2) == [2, 3]
    assert [letter.body for letter in broker.take_dead(broker.queue)] == [encode(events[0])]


@pytest.mark.parametrize("broker", ["amqp", "stomp-rabbitmq"], indirect=True)
def test_a_header_does_not_change_the_key_of_what_came_by_an_exchange(broker: RabbitBroker) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    forged = {"application_headers": {"x-routing-key": "bugzilla.bug.changed"}}
    with admin(broker.node) as channel:
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message(b"1", **forged), broker.exchange, "hg.push.repo")
    (delivery,) = receive(source, 1)
    assert delivery.routing_key == "hg.push.repo"
