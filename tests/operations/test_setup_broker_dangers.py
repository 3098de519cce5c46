# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse setup-broker` names what leaks restricted events, or lets others forge events, with what removes it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import amqp
import pytest

from sourcepulse.brokers import open_publisher
from support.brokers.messages import message, send_all
from support.brokers.rabbitmq import ADMIN, SCRIPTS
from support.brokers.site import PUBLIC, RESTRICTED, ROLES, Site
from support.doctor import paste

NOTHING = {"configure": "^$", "write": "^$", "read": "^$"}
#: Of another virtual host of the node.
ELSEWHERE = "closed"
STRANGER = "new-stranger"


def seen(site: Site, capsys: pytest.CaptureFixture[str], *options: str, code: int = 1) -> list[dict[str, str]]:
    """Return the lines of what is not as it should be."""
    capsys.readouterr()
    assert site.run("--json", *options) == code
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["state"] not in ("ok", "created")]


def remove(site: Site, folder: Path, lines: list[dict[str, str]]) -> None:
    """Run the commands that were printed, as at the broker's host; curl does not ask for the password here."""
    program = folder / "rabbitmqctl"
    environ = shlex.join(f"{name}={value}" for name, value in site.node.environ.items())
    program.write_text(f'#!/bin/sh\nexec env {environ} {SCRIPTS}/rabbitmqctl --node {site.node.name} "$@"\n')
    program.chmod(0o755)
    commands = dict.fromkeys(line["remove"] for line in lines if "remove" in line)
    paste(*(c.replace(f"--user {ADMIN[0]} ", f"--user {':'.join(ADMIN)} ") for c in commands), path=[folder])


def bind(site: Site, source: str, target: str, key: str = "hg.#") -> None:
    with amqp.Connection(f"127.0.0.1:{site.node.port}", *ADMIN, virtual_host=site.vhost) as connection:
        connection.channel().exchange_bind(target, source, key)


def queue(site: Site, name: str, *bound: str, arguments: Mapping[str, Any] | None = None) -> None:
    with amqp.Connection(f"127.0.0.1:{site.node.port}", *ADMIN, virtual_host=site.vhost) as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        for exchange in bound:
            channel.queue_bind(name, exchange, "#")


def policy(site: Site, kind: str, name: str, pattern: str, to: str, priority: int = 99, **definition: object) -> None:
    value = {"pattern": pattern, "apply-to": to, "priority": priority}
    value["definition"] = {key.replace("_", "-"): each for key, each in definition.items()}
    site.api.put(kind, site.vhost, name, value=value)


def shovel(site: Site, vhost: str, uri: str, **ends: str) -> None:
    value = {"src-protocol": "amqp091", "dest-protocol": "amqp091", "src-uri": uri, "dest-uri": uri}
    value |= {key.replace("_", "-"): each for key, each in ends.items()}
    site.api.put("parameters", "shovel", vhost, "mover", value={"value": value})


def stranger(site: Site, tags: str = "", **rights: str) -> None:
    site.api.put("users", STRANGER, value={"password": "s3cret", "tags": tags})
    site.api.put("permissions", site.vhost, STRANGER, value={**NOTHING, **rights})


Seed = Callable[[Site], object]
#: What an admin or a program did -> the state, the kind and a part of the detail.
SEEDS: Mapping[str, tuple[Seed, str, str, str]] = {
    "a binding to the public exchange": (
        lambda site: bind(site, RESTRICTED, PUBLIC, "a~/%.#"), "danger", "binding",
        "copies restricted events to the exchange sourcepulse",
    ),
    "a binding by way of another exchange": (
        lambda site: (bind(site, RESTRICTED, "amq.fanout"), bind(site, "amq.fanout", "amq.topic")), "danger", "binding",
        "copies restricted events to the exchange amq.topic",
    ),
    "a binding from an exchange of others": (
        lambda site: bind(site, "amq.topic", RESTRICTED), "danger", "binding",
        "lets users who may write to amq.topic publish to sourcepulse-restricted",
    ),
    "a binding from an exchange of others to a queue of a consumer": (
        lambda site: queue(site, f"{site.user('consumer')}.x", "amq.topic"), "danger", "binding",
        "lets users who may write to amq.topic put events into the queue new-consumer.x",
    ),
    "a policy with an alternate exchange": (
        lambda site: policy(site, "policies", "p", "^source", "all", alternate_exchange="amq.fanout"),
        "danger", "policy", "from sourcepulse-restricted on to the exchange amq.fanout",
    ),
    "a policy with our exchange as the alternate one": (
        lambda site: policy(site, "policies", "p", "^amq.fanout$", "exchanges", alternate_exchange=PUBLIC),
        "danger", "policy", "lets users who may write to amq.fanout publish to sourcepulse",
    ),
    "a policy with a dead letter exchange": (
        lambda site: policy(site, "policies", "p", "restricted-consumer", "queues", dead_letter_exchange="amq.fanout"),
        "danger", "policy", "restricted events, to the exchange amq.fanout",
    ),
    "a policy of federation": (
        lambda site: (
            site.api.put(
                "parameters", "federation-upstream", site.vhost, "u", value={"value": {"uri": "amqp://127.0.0.1:9"}}
            ),
            policy(site, "policies", "p", RESTRICTED, "exchanges", federation_upstream_set="all"),
        ), "danger", "policy", "brings events of another broker into sourcepulse-restricted",
    ),
    "a policy that stops the relay at a full queue": (
        lambda site: policy(site, "policies", "p", ".*", "queues", overflow="reject-publish", max_length=5),
        "extra", "policy", "stops the relay: max-length 5",
    ),
    "an operator policy above ours": (
        lambda site: policy(site, "operator-policies", "p", ".*", "queues", max_length=1), "extra", "operator policy",
        "replaces our limits for queues such as",
    ),
    "a queue of a public consumer at the restricted exchange": (
        lambda site: queue(site, f"{site.user('consumer')}.x", PUBLIC, RESTRICTED), "danger", "queue",
        "is bound to sourcepulse-restricted, and new-consumer may read it",
    ),
    "a queue that moves its events to the public exchange": (
        lambda site: queue(site, "moves", arguments={"x-dead-letter-exchange": PUBLIC}), "danger", "queue",
        "lets users who may write to moves publish to sourcepulse, by its dead letters",
    ),
    "a shovel from the restricted exchange": (
        lambda site: shovel(site, site.vhost, f"amqp:///{site.vhost}", src_exchange=RESTRICTED, dest_queue="away"),
        "danger", "shovel", "takes restricted events from sourcepulse-restricted",
    ),
    "a shovel of another virtual host to the public exchange": (
        lambda site: shovel(site, ELSEWHERE, f"amqp:///{site.vhost}", src_queue="in", dest_exchange=PUBLIC),
        "danger", "shovel", "puts events into sourcepulse",
    ),
    "tracing": (
        lambda site: site.api.put("vhosts", site.vhost, value={"tracing": True}), "danger", "virtual host",
        "also a restricted one, is copied to the exchange amq.rabbitmq.trace",
    ),
    "a user who may write to exchanges": (
        lambda site: stranger(site, write="sourcepulse", read="^sourcepulse$"), "danger", "user",
        "not one of these, and may write to sourcepulse, write to sourcepulse-restricted",
    ),
    "a user who may read the queues of restricted readers": (
        lambda site: stranger(site, read="^new-restricted-consumer"), "danger", "user",
        "may read queues of restricted events",
    ),
    "a user who may write to the queues of readers": (
        lambda site: stranger(site, write="^new-consumer"), "danger", "user", "may write to queues of public consumers",
    ),
    "a user who may write to the nameless exchange": (
        lambda site: stranger(site, write="^amq.default$"), "danger", "user", "may write to every queue",
    ),
    "a user who may declare everything": (
        lambda site: stranger(site, configure=".*"), "danger", "user", "delete sourcepulse-restricted",
    ),
    "a user who may set policies": (
        lambda site: stranger(site, "policymaker"), "danger", "user", "may set policies and shovels",
    ),
    "rights of ours in another virtual host": (
        lambda site: site.api.put("permissions", ELSEWHERE, site.user("publisher"), value={**NOTHING, "write": ".*"}),
        "extra", "permission", "has more rights in the virtual host closed than a publisher: configure ^$, write .*",
    ),
}  # fmt: skip


@pytest.fixture
def set_up(site: Site, capsys: pytest.CaptureFixture[str]) -> Site:
    """A virtual host that is as it should be."""
    assert seen(site, capsys, "--apply", code=0) == []
    return site


def clean(site: Site) -> None:
    # RabbitMQ traces a virtual host by its name, also the next one of that name.
    site.api.put("vhosts", site.vhost, value={"tracing": False})
    site.node.delete("parameters", "shovel", ELSEWHERE, "mover")
    site.node.delete("users", STRANGER)


@pytest.mark.parametrize("what", SEEDS)
def test_each_way_past_the_rights_is_named_by_check_and_apply_and_left(
    set_up: Site, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    seed, state, kind, detail = SEEDS[what]
    try:
        seed(set_up)
        lines = seen(set_up, capsys, "--check")
        assert [line for line in lines if (line["state"], line["kind"]) == (state, kind) and detail in line["detail"]]
        assert all(line["remove"] for line in lines)
        assert seen(set_up, capsys, "--apply") == lines
        assert set_up.run("--check") == 1
        printed = capsys.readouterr().out
        assert "these commands remove it:" in printed
        assert all(f"\n  {line['remove']}\n" in printed for line in lines)
    finally:
        clean(set_up)


@pytest.mark.parametrize("what", ["a binding to the public exchange", pytest.param(None, marks=pytest.mark.soak)])
def test_the_commands_remove_what_they_were_printed_for(
    set_up: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str | None
) -> None:
    try:
        for seed, _, _, _ in SEEDS.values() if what is None else [SEEDS[what]]:
            seed(set_up)
        # A policy and a user can be one thing at a time.
        while lines := [line for line in seen(set_up, capsys, "--apply") if "remove" in line]:
            remove(set_up, tmp_path, lines)
            if set_up.run("--check") == 0:
                break
        assert seen(set_up, capsys, "--check", code=0) == []
    finally:
        clean(set_up)


def test_restricted_events_do_reach_the_public_exchange_by_the_binding_that_is_named(set_up: Site) -> None:
    bind(set_up, RESTRICTED, PUBLIC)
    queue(set_up, f"{set_up.user('consumer')}.app", PUBLIC)
    sender = open_publisher(set_up.url("restricted-publisher"), exchange=RESTRICTED)
    sender.open()
    send_all(sender, [message(1)])
    sender.close()
    assert set_up.channel("consumer").basic_get(f"{set_up.user('consumer')}.app") is not None


def test_a_user_with_the_rights_of_a_role_who_is_not_named_fails_a_check_but_no_addition(
    set_up: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seen(set_up, capsys, "--check", code=0) == []
    others = tuple(role for role in ROLES if role != "restricted-consumer")
    assert set_up.run("--check", users=others) == 1
    name = set_up.user("restricted-consumer")
    assert re.search(rf"^other +user +{name} +has the rights of a restricted-consumer; ", capsys.readouterr().out, re.M)
    assert set_up.run("--apply", users=others) == 0


def test_who_sets_up_public_events_only_sees_strangers_at_the_restricted_exchange_that_is_there(
    set_up: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        stranger(set_up, read="restricted")
        capsys.readouterr()
        assert set_up.run("--apply", users=("publisher", "consumer")) == 1
        assert "not one of these, and may read sourcepulse-restricted" in capsys.readouterr().out
    finally:
        clean(set_up)


def test_a_changed_role_removes_the_topic_permission_of_before(
    set_up: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    user = set_up.user("publisher")
    more = {"exchange": "amq.topic", "write": ".*", "read": ".*"}
    set_up.api.put("topic-permissions", set_up.vhost, user, value=more)
    (line,) = seen(set_up, capsys, "--check")
    assert (line["state"], line["kind"], line["name"]) == ("differs", "topic permission", f"{user} amq.topic")
    (line,) = seen(set_up, capsys, "--apply", code=0)
    assert line["state"] == "changed"
    assert [row["exchange"] for row in set_up.api.get("topic-permissions", set_up.vhost, user)] == [PUBLIC]

    for role, exchanges in (("restricted-publisher", [RESTRICTED]), ("consumer", [])):
        named = f"--user={role}={user}"
        assert set_up.run("--check", named, users=()) == 1
        assert set_up.run("--apply", named, users=()) == 0
        rows = set_up.api.find("topic-permissions", set_up.vhost, user) or []
        assert [row["exchange"] for row in rows] == exchanges
