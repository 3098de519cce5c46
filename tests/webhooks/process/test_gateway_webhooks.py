# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender of a real gateway: it starts with the table [webhooks], comes again after a kill, and ends with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from sourcepulse.errors import EXIT_USAGE
from sourcepulse.events.event import Event
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.brokers.messages import unique
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.promtool import check_metrics
from support.web.bus import figure, message_of, publish_to
from support.web.gateway import MakeGateway
from support.webhooks.hooks_of import add_hook, children, ids_of, runs, sender_of, state_of, warnings_of
from support.webhooks.receiver import Receiver, Reply

LIMIT_SECONDS = 60.0
#: The gateway looks at its file every 2 s, the sender each second.
CORRECTED_SECONDS = 20.0
#: The limit of the unit is 30 s.
STOP_SECONDS = 25.0
FAST = "retry_seconds = [0, 1]\n"


def expect(receiver: Receiver, sent: Sequence[Event]) -> None:
    """Wait until the receiver has these events, and check that it has them in order, and nothing else."""

    def ids() -> list[str]:
        return list(dict.fromkeys(ids_of([each.body for each in receiver.requests])))

    wait_until(lambda: len(ids()) >= len(sent), LIMIT_SECONDS)
    assert ids() == [each.id for each in sent]


def hooks_table(receiver: Receiver, more: str = "") -> str:
    return f'[webhooks]\nallow = ["{receiver.allowed}"]\n{FAST}{more}'


def test_the_sender_lives_and_ends_with_its_gateway_and_nothing_is_lost_by_kills(make_gateway: MakeGateway) -> None:
    with Receiver() as receiver:
        gateway = make_gateway(configuration=hooks_table(receiver))
        gateway.start()
        sender = sender_of(gateway)
        add_hook(gateway, "room", receiver.url)
        sent = gateway.append(*(system_event(n) for n in range(3)))
        expect(receiver, sent)
        # Killed, it is started again by itself, and by a gateway that was killed as well.
        os.kill(sender, signal.SIGKILL)
        sent += gateway.append(*(system_event(n) for n in range(3, 6)))
        expect(receiver, sent)
        assert sender_of(gateway) != sender
        assert "the sender of webhooks was ended by SIGKILL" in gateway.stderr()
        sender = sender_of(gateway)
        gateway.kill()
        wait_until(lambda: not runs(sender), LIMIT_SECONDS)
        sent += gateway.append(*(system_event(n) for n in range(6, 9)))
        gateway.start()
        sender = sender_of(gateway)
        expect(receiver, sent)
        # What /metrics says has neither the name of the hook nor its owner.
        sent += gateway.append(system_event(11))
        expect(receiver, sent)

        def counted() -> bool:
            text = gateway.get("/metrics").text
            return figure(text, 'hook_attempts_total{outcome="delivered"}') > 0 == figure(text, "hook_events_waiting")

        wait_until(counted, LIMIT_SECONDS)
        metrics = gateway.get("/metrics").text
        assert check_metrics(metrics) == ""
        assert "room" not in metrics
        assert (figure(metrics, 'hooks{state="working"}'), figure(metrics, "hook_sender_up")) == (1, 1)
        # While an answer is awaited, both end in good order, and the event is not sent twice.
        count = len(receiver.requests)
        receiver.then(Reply(delay_s=4.0))
        sent += gateway.append(system_event(9))
        receiver.wait_for(count + 1)
        began_at = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - began_at < STOP_SECONDS
        assert not runs(sender)
        gateway.start()
        sent += gateway.append(system_event(10))
        expect(receiver, sent)
        assert len(receiver.requests) == count + 2


def test_a_second_gateway_on_the_same_log_sends_only_once_the_first_one_is_gone(make_gateway: MakeGateway) -> None:
    with Receiver() as receiver:
        first = make_gateway(configuration=hooks_table(receiver))
        first.start()
        holder = sender_of(first)
        add_hook(first, "room", receiver.url)
        second = make_gateway(broker="file:", configuration=f'broker = "file://{first.log}"\n{hooks_table(receiver)}')
        second.start()
        # It reports no trouble: a sender is at work.
        sender_of(second)
        sent = first.append(*(system_event(n) for n in range(20)))
        expect(receiver, sent)
        assert len(receiver.requests) == len(sent)
        wait_until(lambda: f"another sender (process {holder}) serves" in second.stderr(), LIMIT_SECONDS)
        first.kill()
        sent += first.append(system_event(20))
        expect(receiver, sent)
        assert warnings_of(second) == []


def test_a_correction_takes_effect_without_a_restart_also_switching_on_and_off(make_gateway: MakeGateway) -> None:
    with Receiver() as receiver:
        gateway = make_gateway()
        gateway.start()
        assert (state_of(gateway), children(gateway.pid)) == ({}, [])
        assert "hook" not in gateway.get("/metrics").text
        # Not allowed yet: the address is refused, again and again, and the hook waits.
        gateway.configuration.write_text(hooks_table(receiver))
        sender = sender_of(gateway)
        add_hook(gateway, "room", receiver.url)
        gateway.configuration.write_text(f"[webhooks]\n{FAST}")
        wait_until(lambda: "goes on with them" in gateway.stderr(), CORRECTED_SECONDS)
        gateway.append(system_event(1))
        wait_until(lambda: figure(gateway.get("/metrics").text, 'hooks{state="failing"}') == 1, LIMIT_SECONDS)
        assert receiver.connections == 0
        # A mistake is named, and the former settings stay.
        gateway.configuration.write_text(hooks_table(receiver, "park_hour = 1\n"))
        wait_until(lambda: any("did you mean 'park_hours'" in each for each in warnings_of(gateway)), CORRECTED_SECONDS)
        gateway.configuration.write_text(hooks_table(receiver))
        receiver.wait_for(1)
        assert sender_of(gateway) == sender
        gateway.configuration.write_text("")
        wait_until(lambda: not state_of(gateway) and not runs(sender), CORRECTED_SECONDS)
        gateway.append(system_event(2))
        gateway.configuration.write_text(hooks_table(receiver))
        receiver.wait_for(2)
        assert warnings_of(gateway) == []


def test_a_store_in_a_bad_place_is_named_and_a_good_one_ends_the_pause(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    gateway = make_gateway(configuration=f'[webhooks]\nfile = "{tmp_path}/no/webhooks.db"\n')
    gateway.start()
    wait_until(lambda: state_of(gateway)["sender_problem"], LIMIT_SECONDS)
    problem = state_of(gateway)["sender_problem"]
    assert f"the hook store {tmp_path}/no/webhooks.db" in problem
    assert "`file` in [webhooks]" in problem
    assert problem in warnings_of(gateway)
    # Streams and pages do not depend on it.
    assert gateway.get("/ready").status == 200
    assert "sourcepulse_web_hook_sender_up 0" in gateway.get("/metrics").text
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    gateway.configuration.write_text(f'[webhooks]\nfile = "{shared}/webhooks.db"\n')
    wait_until(lambda: any(f"others may write to {shared}" in each for each in warnings_of(gateway)), CORRECTED_SECONDS)
    shared.chmod(0o700)
    wait_until(lambda: not warnings_of(gateway), LIMIT_SECONDS)
    assert sender_of(gateway)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 100)
    damaged.chmod(0o600)
    gateway.configuration.write_text(f'[webhooks]\nfile = "{damaged}"\n')
    wait_until(lambda: str(damaged) in state_of(gateway)["store_problem"], CORRECTED_SECONDS)
    wait_until(lambda: state_of(gateway)["sender_problem"], LIMIT_SECONDS)
    assert "sourcepulse_web_hook_store_usable 0" in gateway.get("/metrics").text
    assert gateway.stop() == 0


def test_hooks_of_a_gateway_with_a_log_of_its_own_get_what_is_on_rabbitmq(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    with Receiver() as receiver:
        configuration = f'broker = "{rabbitmq.url()}"\nexchange = "{exchange}"\n{hooks_table(receiver)}'
        gateway = make_gateway(
            broker="", configuration=configuration, options=["--queue", f"{ADMIN[0]}.{unique('web')}"]
        )
        gateway.start()
        add_hook(gateway, "room", receiver.url)
        sender = sender_of(gateway)
        sent = [system_event(n) for n in range(20)]
        publish_to(rabbitmq.url(), exchange, [message_of(each) for each in sent])
        expect(receiver, sent)
        gateway.kill()
        wait_until(lambda: not runs(sender), LIMIT_SECONDS)
        publish_to(rabbitmq.url(), exchange, [message_of(system_event(20))])
        gateway.start()
        expect(receiver, [*sent, system_event(20)])
        # The password of the broker is in no command line.
        command = Path(f"/proc/{sender_of(gateway)}/cmdline").read_bytes()
        assert rabbitmq.url().encode() not in command
        assert gateway.stop() == 0


def test_a_gateway_of_restricted_events_refuses_the_table_with_a_sentence(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    gateway = make_gateway(
        broker="file:",
        configuration=f'restricted_broker = "file://{tmp_path}/r.db"\n[webhooks]\n',
        options=["--restricted"],
    )
    gateway.launch()
    assert gateway.wait() == EXIT_USAGE
    assert "[webhooks] is refused with --restricted, because restricted events are never POSTed" in gateway.stderr()


def test_a_password_among_the_options_reaches_the_sender_and_not_its_command_line(
    rabbitmq: RabbitNode, make_gateway: MakeGateway
) -> None:
    exchange = unique("bus")
    rabbitmq.declare_exchange(exchange)
    gateway = make_gateway(
        broker=rabbitmq.url(),
        configuration="[webhooks]\n",
        options=["--exchange", exchange, "--queue", f"{ADMIN[0]}.{unique('web')}"],
    )
    gateway.start()
    sender = sender_of(gateway)
    assert f":{ADMIN[1]}@".encode() not in Path(f"/proc/{sender}/cmdline").read_bytes()
    assert rabbitmq.url().encode() in Path(f"/proc/{sender}/environ").read_bytes()
    assert warnings_of(gateway) == []
    assert gateway.stop() == 0
    assert not runs(sender)
