# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The client of RabbitMQ's management API: what it reads and writes, and a clear error for each thing that is wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import load
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, BrokerUnavailableError, ConfigError, NothingThereError
from support.brokers.impostor import server, tls_with
from support.brokers.rabbitmq import ADMIN, MONITOR, READER, VHOST, RabbitNode, free_port

BYTE_PAUSE_SECONDS = 0.05


def api(url: str, *, limit_s: float = 10.0) -> Management:
    return Management(BrokerUrl.parse_management(url), limit_s=limit_s)


def refused(url: str, *path: str) -> str:
    with pytest.raises(BrokerRefusedUsError) as caught:
        api(url).get(*(path or ("whoami",)))
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def unavailable(url: str, *, limit_s: float = 10.0) -> str:
    with pytest.raises(BrokerError) as caught:
        api(url, limit_s=limit_s).whoami()
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


def answering(answer: bytes, *, pause_s: float = 0.0) -> Callable[[socket.socket], None]:
    """Return what a server does that answers every request the same; with a pause, one byte at a time."""

    def talk(peer: socket.socket) -> None:
        peer.recv(65_536)
        if not pause_s:
            peer.sendall(answer)
        else:
            for byte in answer:
                peer.sendall(bytes([byte]))
                time.sleep(pause_s)

    return talk


def test_it_reads_objects_writes_them_and_knows_what_is_missing(rabbitmq: RabbitNode) -> None:
    broker = api(rabbitmq.management_url())
    assert broker.whoami() == ("admin", {"administrator"})
    assert broker.answered_at is not None
    assert abs(broker.answered_at - time.time()) < 60
    assert broker.complaint("alarms") == ""
    name = "odd name/with #%"
    assert broker.find("exchanges", VHOST, name) is None
    exchange = {"type": "topic", "durable": False, "auto_delete": True}
    broker.put("exchanges", VHOST, name, value=exchange)
    found = broker.get("exchanges", VHOST, name)
    assert {key: found[key] for key in exchange} == exchange
    with pytest.raises(NothingThereError, match="has no exchanges/pulse/none"):
        broker.get("exchanges", VHOST, "none")
    with pytest.raises(BrokerError, match="refuses exchanges/pulse/odd name/with #%: inequivalent arg 'type'"):
        broker.put("exchanges", VHOST, name, value={**exchange, "type": "direct"})


def test_it_reads_a_list_of_many_pages(rabbitmq: RabbitNode) -> None:
    broker = api(rabbitmq.management_url())
    names = [row["name"] for row in broker.get("exchanges", "closed")]
    assert len(names) > 2
    for page_rows in (2, 100):
        rows = list(broker.rows("exchanges", "closed", columns=("name",), page_rows=page_rows))
        assert [row["name"] for row in rows] == names
        assert {tuple(row) for row in rows} == {("name",)}


def test_each_missing_right_is_named_with_what_repairs_it(rabbitmq: RabbitNode) -> None:
    assert "refuses the login 'admin': Login failed" in refused(rabbitmq.management_url((ADMIN[0], "wrong-s3cret")))
    assert "rabbitmqctl set_user_tags" in refused(rabbitmq.management_url(READER))
    assert "Not administrator user; only a user with the tag administrator" in refused(
        rabbitmq.management_url(MONITOR), "users", "reader"
    )
    assert "set_permissions -p VHOST NAME" in refused(rabbitmq.management_url(MONITOR), "queues", "closed")
    assert "a URL without a user" in refused(f"http://127.0.0.1:{rabbitmq.management_port}")


def test_a_health_check_that_fails_is_said_with_its_reason(rabbitmq: RabbitNode) -> None:
    broker = api(rabbitmq.management_url(MONITOR))
    assert broker.complaint(f"port-listener/{rabbitmq.port}") == ""
    assert broker.complaint("port-listener/1") == "No active listener"


def test_tls_is_verified_as_it_is_for_events(rabbitmq: RabbitNode) -> None:
    options = f"?ca={rabbitmq.ca_file}"
    assert api(rabbitmq.management_tls_url(options=options)).whoami()[0] == "admin"
    assert "cannot be trusted" in unavailable(rabbitmq.management_tls_url())
    with server(answering(b""), tls=tls_with(rabbitmq.ca.issue_cert("other.example"))) as port:
        assert "cannot be trusted" in unavailable(f"https://a:b-s3cret@localhost:{port}{options}")


def test_another_port_is_named_as_what_it_is(rabbitmq: RabbitNode) -> None:
    login = ":".join(ADMIN)
    assert "port of its own, usually 15672" in unavailable(f"http://{login}@127.0.0.1:{rabbitmq.port}")
    assert "write https in the URL" in unavailable(f"http://{login}@127.0.0.1:{rabbitmq.management_tls_port}")
    assert "is that its TLS port?" in unavailable(f"https://{login}@127.0.0.1:{rabbitmq.management_port}")
    assert "Connection refused" in unavailable(f"http://{login}@127.0.0.1:{free_port()}")
    assert "is unknown" in unavailable(f"http://{login}@nowhere.invalid")
    other = f"http://{login}@127.0.0.1:{rabbitmq.management_port}/behind/a/proxy"
    assert "check host, port and path of the URL" in unavailable(other)


def test_the_first_host_that_answers_is_asked(rabbitmq: RabbitNode) -> None:
    url = rabbitmq.management_url().replace("127.0.0.1:", f"127.0.0.1:{free_port()},127.0.0.1:")
    assert api(url).whoami()[0] == "admin"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "answers with status 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "answers with something else"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 17\r\n\r\n" + b'{"reason": "ill"}', "failed with status 500: ill"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "not HTTP: IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (17 * 1024 * 1024), "more than 16777216 bytes"),
        (b"SSH-2.0-x\r\n", "is not an HTTP server"),
        (b"", "cannot be reached"),
    ],
)
def test_an_answer_of_something_else_is_refused(answer: bytes, complaint: str) -> None:
    with server(answering(answer)) as port:
        assert complaint in unavailable(f"http://a:b-s3cret@127.0.0.1:{port}")


def test_a_server_that_answers_a_byte_at_a_time_is_left_at_the_deadline() -> None:
    with server(answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, pause_s=BYTE_PAUSE_SECONDS)) as port:
        began = time.monotonic()
        said = unavailable(f"http://a:b-s3cret@127.0.0.1:{port}", limit_s=0.5)
    assert "does not answer within 0.5 s" in said
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("amqp://h", "begins with http:// or https://"),
        ("https://h:15671/api", "leave out the '/api'"),
        ("http://u:p@ss-s3cret@h/#/queues", "write %2F"),
        ("http://u:s3cret@h?ca=/x", "an option after the '\\?' is not one of $"),
        ("https://u:s3cret@h:0", "a port is a number"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        BrokerUrl.parse_management(text)
    assert "s3cret" not in str(caught.value)


def test_the_url_is_shown_without_its_password() -> None:
    url = BrokerUrl.parse_management("https://me:s3cret@a,b:15671/mq/?ca=/ca.pem")
    assert str(url) == "https://me@a:443,b:15671/mq"
    assert "s3cret" not in repr(url)
    assert "s3cret" not in repr(Management(url)) + str(Management(url))


def test_the_url_is_read_from_its_file_when_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "management"
    config = load({"management_url_file": str(file)}, environ={})
    with pytest.raises(ConfigError, match=r"the management_url_file .* cannot be read"):
        config.management()
    file.touch(0o600)
    file.write_text("http://me:s3cret@h:15672\n")
    url = config.management()
    assert url is not None
    assert (url.password, url.hosts) == ("s3cret", (("h", 15672),))
    file.chmod(0o644)
    assert "chmod o-r" in "".join(load({"management_url_file": str(file)}, environ={}).warnings)
    assert load(environ={}).management() is None
    with pytest.raises(ConfigError, match="both set"):
        load({"management_url_file": str(file), "management_url": "http://h"}, environ={})
    with pytest.raises(ConfigError, match="begins with http"):
        load({"management_url": "amqp://h"}, environ={})


def test_it_is_unavailable_while_the_node_is_frozen(rabbitmq: RabbitNode) -> None:
    rabbitmq.freeze()
    try:
        with pytest.raises(BrokerUnavailableError, match="does not answer"):
            api(rabbitmq.management_url(), limit_s=0.5).whoami()
    finally:
        rabbitmq.thaw()
