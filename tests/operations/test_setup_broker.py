# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse setup-broker` on a real node: what it makes, what each role may do then, drift, and what goes wrong."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator

import amqp
import pytest
from amqp.exceptions import AccessRefused

from sourcepulse.brokers import Outcome, SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.main import main
from sourcepulse.errors import BrokerRefusedUsError
from support.brokers.messages import bodies, message, send_all
from support.brokers.rabbitmq import MONITOR, READER, RabbitNode, free_port
from support.brokers.site import PUBLIC, RESTRICTED, ROLES, Site, site_of

FAMILIES = ("hg", "build", "change", "test", "bugzilla", "system")


@pytest.fixture(scope="module")
def ready(rabbitmq: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One that was set up."""
    for site in site_of(rabbitmq, tmp_path_factory.mktemp("ready"), "ready"):
        assert site.run("--apply") == 0
        yield site


def refused(action: Callable[[], object]) -> None:
    with pytest.raises((AccessRefused, BrokerRefusedUsError)):
        action()


def test_it_prints_what_it_would_do_and_changes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run() == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["STATE", "KIND", "NAME", "DETAIL"]
    assert "configure ^$, write ^sourcepulse$, read ^$" in printed
    assert site.api.find("vhosts", site.vhost) is None
    assert list(site.folder.glob("*.broker")) == []


def test_it_makes_each_object_once_and_then_finds_no_drift(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(site.states(capsys, "--check", code=1).values()) == {"missing"}
    assert site.api.find("vhosts", site.vhost) is None

    assert set(site.states(capsys, "--apply", code=0).values()) == {"created"}
    before = {role: site.file(role).read_text() for role in ROLES}
    assert set(site.states(capsys, "--check", code=0).values()) == {"ok"}
    assert set(site.states(capsys, "--apply", code=0).values()) == {"ok"}
    assert {role: site.file(role).read_text() for role in ROLES} == before


def test_a_password_is_in_its_file_only_and_the_broker_has_a_hash(
    ready: Site, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    ready.run("--apply", "-v")
    ready.run("--check", "--json")
    said = capsys.readouterr()
    log = (ready.node.folder / "log" / "rabbit.log").read_text()
    for role in ROLES:
        password = ready.file(role).read_text().partition("@")[0].rpartition(":")[2]
        assert len(password) >= 32
        assert stat.S_IMODE(ready.file(role).stat().st_mode) == 0o600
        stored = ready.api.get("users", ready.user(role))
        assert password not in str(stored) + said.out + said.err + caplog.text + log
        assert stored["hashing_algorithm"] == "rabbit_password_hashing_sha256"


def test_a_publisher_can_publish_every_family_and_read_nothing(ready: Site) -> None:
    for role, exchange, other in (
        ("publisher", PUBLIC, RESTRICTED),
        ("restricted-publisher", RESTRICTED, PUBLIC),
    ):
        sender = open_publisher(ready.url(role), exchange=exchange)
        sender.open()
        sent = send_all(sender, [message(n, key=f"{family}.x.y") for n, family in enumerate(FAMILIES)])
        sender.abandon()
        assert {each.outcome for each in sent} <= {Outcome.DELIVERED, Outcome.UNROUTABLE}
        refused(lambda r=role, e=exchange: ready.channel(r).basic_publish_confirm(amqp.Message(b""), e, "other.x"))
        refused(lambda r=role, e=other: ready.channel(r).basic_publish_confirm(amqp.Message(b""), e, "hg.push.x"))
        refused(lambda r=role: ready.channel(r).queue_declare("temporary-mine", exclusive=True))
        refused(lambda r=role: ready.channel(r).basic_get(f"{ready.user('consumer')}.app"))


@pytest.mark.parametrize(
    ("role", "publisher", "exchange"),
    [("consumer", "publisher", PUBLIC), ("restricted-consumer", "restricted-publisher", RESTRICTED)],
)
@pytest.mark.parametrize("durable", [True, False])
def test_a_consumer_reads_its_exchange(ready: Site, role: str, publisher: str, exchange: str, durable: bool) -> None:
    queue = f"{ready.user(role)}.app" if durable else None
    spec = SubscriptionSpec(exchange=exchange, patterns=("hg.#",), queue=queue, durable=durable)
    source = open_subscription(ready.url(role), spec)
    source.open()
    sender = open_publisher(ready.url(publisher), exchange=exchange)
    try:
        sender.open()
        send_all(sender, [message(number) for number in range(3)])
        assert bodies(source, 3) == [b"0", b"1", b"2"]
    finally:
        source.close()
        sender.close()


@pytest.mark.parametrize(("role", "own", "other"), [
    ("consumer", PUBLIC, RESTRICTED), ("restricted-consumer", RESTRICTED, PUBLIC),
])  # fmt: skip
def test_a_consumer_can_neither_read_the_other_exchange_nor_forge_an_event(
    ready: Site, role: str, own: str, other: str
) -> None:
    queue = f"{ready.user(role)}.mine"
    ready.channel(role).queue_declare(queue, durable=True, auto_delete=False)
    refused(lambda: ready.channel(role).queue_bind(queue, other, "#"))
    refused(lambda: ready.channel(role).exchange_bind(own, other, "#"))
    refused(lambda: ready.channel(role).exchange_bind(other, own, "#"))
    refused(lambda: ready.channel(role).exchange_declare("mine", "topic", durable=True, auto_delete=False))
    for exchange in (own, other):
        refused(lambda e=exchange: ready.channel(role).basic_publish_confirm(amqp.Message(b"forged"), e, "hg.push.x"))
    # Past the exchange, into the queue of another consumer or into its own.
    for name in (queue, f"{ready.user('consumer')}.app"):
        refused(lambda n=name: ready.channel(role).basic_publish_confirm(amqp.Message(b"forged"), "", n))
    refused(lambda: ready.channel(role).queue_declare("another.app", durable=True, auto_delete=False))


def test_with_dead_letters_a_consumer_may_write_to_the_nameless_exchange(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.run("--apply", users=("consumer",)) == 0
    assert site.api.find("exchanges", site.vhost, RESTRICTED) is None
    assert site.run("--check", "--dead-letters", users=("consumer",)) == 1
    assert site.run("--apply", "--dead-letters", users=("consumer",)) == 0
    own = f"{site.user('consumer')}.app"
    channel = site.channel("consumer")
    channel.queue_declare(own, durable=True, auto_delete=False)
    channel.basic_publish_confirm(amqp.Message(b"dead"), "", own)
    refused(lambda: site.channel("consumer").basic_publish_confirm(amqp.Message(b"forged"), PUBLIC, "hg.push.x"))


def test_a_publisher_may_use_the_families_that_the_site_names(site: Site) -> None:
    assert site.run("--apply", users=("publisher",)) == 0
    assert site.run("--check", "--family=deploy", users=("publisher",)) == 1
    assert site.run("--apply", "--family=deploy", users=("publisher",)) == 0
    site.channel("publisher").basic_publish_confirm(amqp.Message(b""), PUBLIC, "deploy.web.done")
    refused(lambda: site.channel("publisher").basic_publish_confirm(amqp.Message(b""), PUBLIC, "deployed.web"))


def test_a_monitor_sees_queues_and_changes_nothing(ready: Site) -> None:
    monitor = Management(BrokerUrl.parse_management(ready.file("monitor").read_text()))
    assert isinstance(list(monitor.rows("queues", ready.vhost)), list)
    with pytest.raises(BrokerRefusedUsError):
        monitor.put("exchanges", ready.vhost, "mine", value={"type": "topic"})
    with pytest.raises(BrokerRefusedUsError):
        monitor.put("users", ready.user("consumer"), value={"password": "x", "tags": ""})


def test_drift_of_each_kind_is_reported_and_repaired(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("--apply") == 0
    consumer, vhost = site.user("consumer"), site.vhost
    stored = site.api.get("users", consumer)["password_hash"]
    hashing = "rabbit_password_hashing_sha256"
    changes = {
        ("limit", "max-queues"): (("vhost-limits", vhost, "max-queues"), {"value": 7}),
        ("user limit", "consumer max-channels"): (("user-limits", consumer, "max-channels"), {"value": 7}),
        ("user", "consumer"): (
            ("users", consumer),
            {"password_hash": stored, "hashing_algorithm": hashing, "tags": "administrator"},
        ),
        ("permission", "consumer"): (
            ("permissions", vhost, consumer),
            {"configure": ".*", "write": ".*", "read": ".*"},
        ),
        ("topic permission", "publisher"): (
            ("topic-permissions", vhost, site.user("publisher")),
            {"exchange": PUBLIC, "write": ".*", "read": ".*"},
        ),
        ("operator policy", "other-queues"): (
            ("operator-policies", vhost, "other-queues"),
            {"pattern": ".*", "definition": {"max-length": 1}, "apply-to": "queues", "priority": 0},
        ),
    }
    for path, value in changes.values():
        site.api.put(*path, value=value)

    states = site.states(capsys, "--check", code=1)
    assert {key for key, state in states.items() if state == "differs"} == changes.keys()
    assert set(states.values()) == {"differs", "ok"}
    states = site.states(capsys, "--apply", code=0)
    assert {key for key, state in states.items() if state == "changed"} == changes.keys()
    assert set(site.states(capsys, "--check", code=0).values()) == {"ok"}
    # Its password is the same as before.
    site.channel("consumer").connection.collect()


def test_an_exchange_of_another_type_is_reported_with_what_to_do_and_the_rest_is_done(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.api.put("vhosts", site.vhost, value={})
    site.api.put("exchanges", site.vhost, PUBLIC, value={"type": "direct", "durable": True})
    assert site.run("--check") == 1
    assert "type is 'direct', not 'topic'" in capsys.readouterr().out
    states = site.states(capsys, "--apply", code=4)
    assert {key for key, state in states.items() if state == "failed"} == {("exchange", PUBLIC)}
    assert set(states.values()) == {"failed", "created", "ok"}
    assert site.run("--apply") == 4
    assert "delete it and run this again" in capsys.readouterr().out


def test_a_right_that_is_missing_half_way_leaves_a_report_and_the_next_run_finishes(
    site: Site, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    # An administrator without rights in a virtual host that is there can set limits, but declare nothing.
    site.api.put("vhosts", site.vhost, value={})
    other = (site.user("monitor"), "s3cret")
    site.api.put("users", other[0], value={"password": other[1], "tags": "administrator"})
    roles = ROLES[:-1]
    capsys.readouterr()
    assert site.run("--apply", login=other, users=roles) == 4
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[0] for line in lines[:4]] == ["ok", "created", "created", "failed"]
    assert {line[0] for line in lines[4:]} == {"not done"}
    assert "2 objects were created or changed and" in caplog.text
    assert "run this again, it continues" in caplog.text
    written = site.file("publisher").read_text()
    assert site.api.find("users", site.user("publisher")) is None

    assert site.run("--apply", users=roles) == 0
    assert site.file("publisher").read_text() == written
    site.channel("publisher").connection.collect()


def test_an_existing_user_keeps_its_password_unless_it_is_rotated(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    user = site.user("consumer")
    site.api.put("users", user, value={"password": "of-before", "tags": ""})
    capsys.readouterr()
    assert site.run("--apply", users=("consumer",)) == 1
    unknown = f"consumer; exists; its password is not ours: --rotate {user} writes a new one"
    assert re.search(rf"^exists +user +{user} +{unknown}$", capsys.readouterr().out, re.MULTILINE)
    assert not site.file("consumer").exists()
    # The file may be at the host of the consumer.
    assert site.run("--check", users=("consumer",)) == 0
    assert f"consumer; its password is not in {site.file('consumer')}" in capsys.readouterr().out
    login = (user, "of-before")
    with amqp.Connection(f"127.0.0.1:{site.node.port}", *login, virtual_host=site.vhost):
        pass

    assert site.run("--apply", "--rotate", user, users=("consumer",)) == 0
    first = site.file("consumer").read_text()
    site.channel("consumer").connection.collect()
    refused(amqp.Connection(f"127.0.0.1:{site.node.port}", *login, virtual_host=site.vhost).connect)
    assert site.run("--apply", "--rotate", user, users=("consumer",)) == 0
    assert site.file("consumer").read_text() != first
    site.channel("consumer").connection.collect()

    # A file with another password than the broker's is drift.
    site.file("consumer").write_text(first)
    assert site.run("--check", users=("consumer",)) == 1
    assert f"has another password; --rotate {user} makes a new one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "complaint", "code"),
    [
        (["--user", "consumr=x"], "unknown role 'consumr'; did you mean 'consumer'?", 2),
        (["--user", "consumer=a.b"], "write consumer=NAME", 2),
        (["--user", "consumer=a", "--user", "publisher=a"], "is named twice", 2),
        (["--apply", "--rotate", "nobody"], "there is no such user here", 2),
        (["--rotate", "reader"], "needs --apply", 2),
        (["--check"], "no management_url is set", 2),
        (["--check", "--management-url", "http://a@127.0.0.1:{port}"], "cannot be reached: Connection refused", 4),
        (["--family", "a.*"], "it is one word", 2),
        (["--restricted-exchange", "SourcePulse"], "are the same", 2),
        (["--broker", "file:///tmp/x.db"], "needs no set-up", 2),
    ],
)
def test_each_mistake_is_one_sentence(
    options: list[str], complaint: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [option.format(port=free_port()) for option in options]
    assert main(["setup-broker", "--broker", "amqp://127.0.0.1/x", *options]) == code
    said = capsys.readouterr()
    assert complaint in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_nothing_is_done_if_a_right_or_the_folder_of_the_passwords_is_missing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    for login, complaint in ((MONITOR, "the login 'monitor' has the tag monitoring"), (READER, "Not management user")):
        assert site.run("--apply", login=login) == 4
        assert complaint in capsys.readouterr().err
    assert site.run("--apply", "--secrets", str(site.folder / "none")) == 1
    assert "cannot be created: No such file or directory; name a directory" in capsys.readouterr().err
    assert site.api.find("vhosts", site.vhost) is None
