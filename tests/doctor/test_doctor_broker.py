# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names what is wrong on the way to RabbitMQ and with the rights there, and its commands repair it."""

from __future__ import annotations

import datetime
import json
import re
import shlex
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import load
from sourcepulse.operations.broker_setup.roles import topics
from sourcepulse.operations.doctor.doctor import examine as diagnose
from sourcepulse.operations.doctor.doctor import situation_of
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.testing import system_event
from support.brokers.rabbitmq import ADMIN, MONITOR, NARROW, READER, RELAY, SCRIPTS, VHOST, RabbitNode
from support.doctor import Examined, examine, is_well, paste

USER, PASSWORD = "doctor", "doctor-s3cret"
LOGIN = {"password": PASSWORD, "tags": ""}


class Clinic:
    """A broker, a file with its URL, an outbox, and a rabbitmqctl that finds the broker as on its own host."""

    def __init__(self, folder: Path, node: RabbitNode) -> None:
        self.folder = folder
        self.node = node
        self.file = folder / "broker"
        self.outbox = folder / "outbox.db"
        self.api = Management(BrokerUrl.parse_management(node.management_url()))
        with Outbox.open(self.outbox) as opened:
            opened.append([system_event(1)])
            opened.acknowledge("public", [1])

    def examine(self, url: str | None = None, *options: str) -> Examined:
        """Run the doctor with this URL in the file, or with what is there."""
        if url is not None:
            self.file.touch(0o600)
            self.file.write_text(url + "\n")
        found = examine("--outbox", self.outbox, "--broker-file", self.file, *options)
        # No relay runs here, which is no matter of these tests.
        return Examined(found.returncode, [each for each in found.findings if each["id"] != "SP402"])

    def paste(self, *commands: str) -> str:
        assert not any(PASSWORD in command for command in commands)
        return paste(*commands, path=[self.folder])

    def url(self, *, user: str = USER, password: str = PASSWORD, vhost: str = VHOST, port: int | None = None) -> str:
        return f"amqp://{user}:{password}@127.0.0.1:{port or self.node.port}/{vhost}"


@pytest.fixture(scope="module")
def doctors_node(rabbitmq: RabbitNode) -> RabbitNode:
    """The node with a user that may write, but not declare."""
    api = Management(BrokerUrl.parse_management(rabbitmq.management_url()))
    api.put("users", USER, value=LOGIN)
    api.put("permissions", VHOST, USER, value={"configure": "^$", "write": "^sourcepulse", "read": "^$"})
    return rabbitmq


@pytest.fixture
def clinic(doctors_node: RabbitNode, tmp_path: Path) -> Clinic:
    program = tmp_path / "rabbitmqctl"
    environ = shlex.join(f"{name}={value}" for name, value in doctors_node.environ.items())
    program.write_text(f'#!/bin/sh\nexec env {environ} {SCRIPTS}/rabbitmqctl --node {doctors_node.name} "$@"\n')
    program.chmod(0o755)
    return Clinic(tmp_path, doctors_node)


def test_all_is_well_with_a_broker_that_accepts_us_and_nothing_is_changed_there(clinic: Clinic) -> None:
    content = clinic.outbox.read_bytes()
    found = clinic.examine(clinic.url())
    assert is_well(found), found.findings
    # It may declare this one, and does not.
    found = clinic.examine(clinic.node.url(RELAY))
    assert is_well(found), found.findings
    found = clinic.examine(clinic.node.url(ADMIN), "--exchange", "doctor.missing")
    assert "the relay declares it" in str(found.findings)
    assert clinic.api.find("exchanges", VHOST, "doctor.missing") is None
    assert clinic.outbox.read_bytes() == content


def test_a_probe_goes_to_the_broker_and_back_and_is_stored_nowhere(clinic: Clinic) -> None:
    found = clinic.examine(clinic.url(), "--probe")
    (unread,) = [each for each in found.findings if each["id"] == "SP901"]
    assert unread["state"] == "not checked"
    assert "confirmed a probe after" in unread["found"]
    reader = clinic.folder / "reader"
    reader.touch(0o600)
    reader.write_text(clinic.node.url(READER))
    found = clinic.examine(None, "--probe", "--reader-file", str(reader))
    assert is_well(found)
    (probed,) = [each for each in found.findings if each["id"] == "SP901"]
    assert probed["state"] == "ok"
    assert "and delivered it after" in probed["found"]
    with Outbox.open(clinic.outbox) as outbox:
        assert len(rows(outbox, Selection())) == 1


def test_a_probe_of_the_embedded_log_comes_back(clinic: Clinic) -> None:
    found = clinic.examine(f"file://{clinic.folder}/log.db", "--probe")
    assert is_well(found)
    assert [each["state"] for each in found.findings if each["id"] == "SP901"] == ["ok"]


def test_a_clock_that_is_off_by_an_hour_is_named(clinic: Clinic) -> None:
    def clocks(off_s: float, **settings: str) -> list[tuple[str, str]]:
        config = load({"broker": clinic.url(), **settings}, environ={})
        report = diagnose(situation_of(config, None, now=lambda: time.time() + off_s))
        return [(each.state.value, each.found) for each in report.findings if each.id == "SP801"]

    assert clocks(0)[0][0] == "not checked"
    api = {"management_url": clinic.node.management_url(MONITOR)}
    assert clocks(0, **api) == [("ok", "agrees with that of the broker")]
    for off_s, word in ((3600, "ahead of"), (-3600, "behind")):
        ((state, found),) = clocks(off_s, **api)
        assert state == "broken"
        assert re.search(rf"this clock is (3600|359\d|360\d) s {word} that of 127\.0\.0\.1", found)
    # Also a broker that refuses this login answers with its time.
    assert clocks(0, management_url=clinic.node.management_url(READER))[0][0] == "ok"


def test_a_wrong_password_is_named_and_repaired_and_is_in_no_command(clinic: Clinic) -> None:
    found = clinic.examine(clinic.url(password="an%20other"))
    assert found.bad == ["SP301"]
    assert "an other" not in json.dumps(found.findings)
    clinic.paste(*found.repair("SP301"))
    try:
        assert is_well(clinic.examine())
    finally:
        clinic.api.put("users", USER, value=LOGIN)


def test_a_password_that_others_can_read_is_named_and_hidden(clinic: Clinic) -> None:
    clinic.file.touch(0o644)
    found = clinic.examine(clinic.url())
    assert found.bad == ["SP103"]
    clinic.paste(*found.repair("SP103"))
    assert is_well(clinic.examine())


def test_a_missing_virtual_host_is_named_and_created(clinic: Clinic) -> None:
    found = clinic.examine(clinic.url(vhost="doctor-new"))
    assert found.bad == ["SP302"]
    clinic.paste(*found.repair("SP302"))
    assert is_well(clinic.examine())
    # What setup-broker grants.
    (right,) = clinic.api.get("users", USER, "topic-permissions")
    assert right["write"] == topics()
    rights = {each["vhost"]: each for each in clinic.api.get("users", USER, "permissions")}["doctor-new"]
    assert [rights["configure"], rights["write"], rights["read"]] == ["^$", "^sourcepulse$", "^$"]


def test_a_missing_exchange_that_we_may_not_declare_is_named_and_declared(clinic: Clinic) -> None:
    options = ("--exchange", "sourcepulse.doctor")
    found = clinic.examine(clinic.url(), *options)
    assert found.bad == ["SP304"]
    clinic.paste(*found.repair("SP304"))
    assert is_well(clinic.examine(None, *options))


def test_a_topic_permission_that_lacks_one_family_is_named_and_widened(clinic: Clinic) -> None:
    (right,) = clinic.api.get("topic-permissions", VHOST, NARROW[0])
    found = clinic.examine(clinic.url(user=NARROW[0], password=NARROW[1]))
    assert found.bad == ["SP306"]
    assert "system.*" in found.one("SP306")["found"]
    clinic.paste(*found.repair("SP306"))
    try:
        assert is_well(clinic.examine())
    finally:
        clinic.api.put("topic-permissions", VHOST, NARROW[0], value=right)


def test_a_memory_alarm_is_named_and_cleared(clinic: Clinic) -> None:
    clinic.node.alarm(raised=True)
    try:
        found = clinic.examine(clinic.url())
        assert found.bad == ["SP308"]
        clinic.paste(*found.repair("SP308"))
        assert is_well(clinic.examine())
    finally:
        clinic.node.alarm(raised=False)


def test_an_expired_certificate_is_named_and_a_new_one_is_read(clinic: Clinic) -> None:
    certificate, key = clinic.node.folder / "cert.pem", clinic.node.folder / "key.pem"
    good = certificate.read_bytes(), key.read_bytes()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    old = clinic.node.ca.issue_cert("localhost", not_before=yesterday - datetime.timedelta(days=9), not_after=yesterday)
    old.cert_chain_pems[0].write_to_path(str(certificate))
    old.private_key_pem.write_to_path(str(key))
    clinic.node.evaluate("ssl:clear_pem_cache()")
    url = clinic.node.tls_url((USER, PASSWORD), options=f"?ca={clinic.node.ca_file}")
    try:
        found = clinic.examine(url)
        assert found.bad == ["SP204"]
    finally:
        certificate.write_bytes(good[0])
        key.write_bytes(good[1])
    clinic.paste(*found.repair("SP204"))
    assert is_well(clinic.examine())


def test_another_authority_and_another_host_name_are_named(clinic: Clinic) -> None:
    other = clinic.folder / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    found = clinic.examine(clinic.node.tls_url((USER, PASSWORD), options=f"?ca={other}"))
    assert found.bad == ["SP205"]
    assert str(other) in found.one("SP205")["found"]
    assert "trustme" in clinic.paste(*found.repair("SP205"))
    # The right one is where an admin has put it.
    shutil.copy(clinic.node.ca_file, clinic.folder / "pulse-ca.pem")
    for options in (f"?ca={other}", f"?ca={str(other).replace('/', '%2f')}", "", "?heartbeat=20"):
        found = clinic.examine(clinic.node.tls_url((USER, PASSWORD), options=options))
        assert found.bad == ["SP211"]
        clinic.paste(*found.repair("SP211"))
        assert is_well(clinic.examine())
    ours = f"?ca={clinic.node.ca_file}"
    # A spelling of the address that is not in the certificate.
    found = clinic.examine(clinic.node.tls_url((USER, PASSWORD), host="127.1", options=ours))
    assert found.bad == ["SP206"]
    clinic.paste(*found.repair("SP206"))
    assert is_well(clinic.examine())


def test_a_name_that_dns_does_not_know_is_named(clinic: Clinic) -> None:
    found = clinic.examine(f"amqp://{USER}:{PASSWORD}@no-such-host.invalid/{VHOST}")
    assert found.bad == ["SP201"]
    assert str(clinic.file) in found.one("SP201")["advice"]
    assert found.repair("SP201") == ["getent ahosts no-such-host.invalid"]
    assert is_well(clinic.examine(clinic.url()))


def test_wrong_rights_and_a_foreign_exchange_are_named_and_repaired(clinic: Clinic) -> None:
    api = clinic.api
    right = api.get("permissions", VHOST, USER)
    api.put("permissions", VHOST, USER, value={**right, "write": "^$"})
    found = clinic.examine(clinic.url())
    assert found.bad == ["SP305"]
    clinic.paste(*found.repair("SP305"))
    assert is_well(clinic.examine())
    api.put("permissions", VHOST, USER, value={"configure": "doctor", "write": "doctor", "read": "^$"})
    api.put("exchanges", VHOST, "doctor.foreign", value={"type": "direct", "durable": True})
    found = clinic.examine(None, "--exchange", "doctor.foreign")
    assert found.bad == ["SP307"]
    clinic.paste(*found.repair("SP307"))
    again = clinic.examine(None, "--exchange", "doctor.foreign")
    assert is_well(again)
    assert "the relay declares it" in str(again.findings)
    api.put("permissions", VHOST, USER, value=right)
    found = clinic.examine(clinic.url(vhost="closed"))
    assert found.bad == ["SP303"]


@pytest.mark.parametrize("scheme", ["stomp+rabbitmq", "amqp"])
def test_the_way_over_stomp_and_to_several_hosts_is_looked_at(clinic: Clinic, scheme: str) -> None:
    node, port = clinic.node, clinic.node.stomp_port if scheme != "amqp" else clinic.node.port
    beside = f"?amqp_port={node.port}" if scheme != "amqp" else ""
    url = f"{scheme}://{USER}:{{}}@127.0.0.1:{port}{{}}/{VHOST}{beside}"
    assert is_well(clinic.examine(url.format(PASSWORD, "")))
    assert clinic.examine(url.format(PASSWORD, ",127.0.0.1:1")).bad == ["SP202"]
    assert clinic.examine(url.format("wrong", "")).bad == ["SP301"]
    assert clinic.examine(url.format("wrong", f",localhost:{port}")).bad == ["SP301"]
    found = clinic.examine(url.format("wrong", ",127.0.0.1:1"))
    assert found.bad == ["SP202", "SP301"]
    assert found.repair("SP301")
    missing = url.format(PASSWORD, f",localhost:{port}").replace(f"/{VHOST}", "/nosuch")
    assert clinic.examine(missing).bad == ["SP302"]
    if beside:
        # The words of STOMP alone name the login.
        assert clinic.examine(url.format("wrong", "").replace(f"={node.port}", "=1")).bad == ["SP301"]


def test_a_url_without_a_password_is_named_and_no_command_sets_one(clinic: Clinic) -> None:
    found = clinic.examine(clinic.url().replace(f":{PASSWORD}", ""))
    assert found.bad == ["SP301"]
    assert "names no password" in found.one("SP301")["found"]
    assert found.repair("SP301") == []


@contextmanager
def tls_server(*names: str) -> Iterator[tuple[int, trustme.CA]]:
    """Serve nothing but TLS handshakes with a certificate for these names until the end of the block."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True):
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], authority
        server.shutdown(socket.SHUT_RDWR)


def test_a_wildcard_of_a_certificate_is_not_written_into_the_url(clinic: Clinic) -> None:
    ca = clinic.folder / "wild.pem"
    for names in (("*.example.test", "no-such-host.invalid", "localhost"), ("*.example.test",)):
        with tls_server(*names) as (port, authority):
            authority.cert_pem.write_to_path(str(ca))
            found = clinic.examine(f"amqps://{USER}:{PASSWORD}@127.0.0.1:{port}/?ca={ca}")
        assert found.bad == ["SP206"]
        clinic.paste(*found.repair("SP206"))
        host = "localhost" if "localhost" in names else "127.0.0.1"
        assert f"@{host}:{port}/" in clinic.file.read_text()


def test_a_port_that_drops_our_packets_is_named(clinic: Clinic) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            # Those for which the queue has no room are never answered.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        found = clinic.examine(clinic.url(port=full.getsockname()[1]))
        assert found.bad == ["SP203"]
        assert found.repair("SP203")[0].startswith("tracepath -p ")
    assert clinic.examine().bad == ["SP202"]
    assert is_well(clinic.examine(clinic.url()))
