# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor warns of what gets past the rights at RabbitMQ, as far as the login of the management API sees it."""

from __future__ import annotations

from collections.abc import Iterator

import amqp
import pytest

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import load
from sourcepulse.operations.doctor.doctor import examine, situation_of
from sourcepulse.operations.doctor.finding import Finding, State
from support.brokers.rabbitmq import ADMIN, EXCHANGES, MONITOR, READER, RabbitNode

VHOST = "danger"
PUBLIC, RESTRICTED = EXCHANGES


@pytest.fixture
def node(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    """A node with a virtual host in which restricted events are copied to the public exchange."""
    api = Management(BrokerUrl.parse_management(rabbitmq.management_url()))
    api.put("vhosts", VHOST, value={})
    api.put("permissions", VHOST, MONITOR[0], value=dict.fromkeys(("configure", "write", "read"), "^$"))
    for exchange in EXCHANGES:
        api.put("exchanges", VHOST, exchange, value={"type": "topic", "durable": True})
    with amqp.Connection(f"127.0.0.1:{rabbitmq.port}", *ADMIN, virtual_host=VHOST) as connection:
        connection.channel().exchange_bind(PUBLIC, RESTRICTED, "#")
    yield rabbitmq
    api.put("vhosts", VHOST, value={"tracing": False})
    rabbitmq.delete("vhosts", VHOST)


def findings(node: RabbitNode, login: tuple[str, str] | None) -> list[Finding]:
    settings = {"broker": f"amqp://{ADMIN[0]}:{ADMIN[1]}@127.0.0.1:{node.port}/{VHOST}"}
    if login is not None:
        settings["management_url"] = node.management_url(login)
    report = examine(situation_of(load(settings, environ={}), None))
    return [finding for finding in report.findings if finding.id == "SP311"]


def test_a_binding_that_leaks_restricted_events_is_a_warning_with_the_command_that_removes_it(node: RabbitNode) -> None:
    for login in (ADMIN, MONITOR):
        found = [finding for finding in findings(node, login) if finding.state is State.WARNING]
        assert [(each.about, each.found) for each in found] == [
            (
                "binding sourcepulse-restricted -> sourcepulse",
                "binding sourcepulse-restricted -> sourcepulse copies restricted events to the exchange sourcepulse",
            )
        ]
        (command,) = found[0].commands
        assert command.startswith(f"curl --fail --user {login[0]} --request DELETE http://127.0.0.1:")
    node.delete("bindings", VHOST, "e", RESTRICTED, "e", PUBLIC, "%23")
    assert [each.state for each in findings(node, ADMIN)] == [State.OK]


def test_tracing_is_a_warning_for_a_login_that_sees_it(node: RabbitNode) -> None:
    Management(BrokerUrl.parse_management(node.management_url())).put("vhosts", VHOST, value={"tracing": True})
    commands = [each.commands for each in findings(node, ADMIN) if each.about.startswith("virtual host")]
    assert commands == [(f"rabbitmqctl trace_off -p {VHOST}",)]


def test_what_a_login_does_not_see_is_not_checked_and_does_not_count(node: RabbitNode) -> None:
    assert findings(node, None) == []
    (unseen,) = [each for each in findings(node, MONITOR) if each.state is State.UNCHECKED]
    assert not unseen.counts
    assert "does not see shovels, tracing; `setup-broker --check` does" in unseen.found
    (unseen,) = findings(node, READER)
    assert (unseen.state, unseen.counts) == (State.UNCHECKED, False)
