# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What no page of a real gateway sees: foreign hosts, bodies, huge, slow and broken requests; each gets a sentence."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sourcepulse_web.server.guards import Place, check, known_hosts
from support.brokers.embedded_log import wait_until
from support.web.gateway import Gateway, MakeGateway

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
#: The gateway waits 5 s for headers.
ANSWER_LIMIT_SECONDS = 40.0
CLIENTS_MAX = 10
PIECES = (
    *(b"GET ", b"HEAD ", b"POST ", b"/live ", b"/events?topic=%23 ", b"/static/base.css ", b"HTTP/1.1", b"HTTP/1.0"),
    *(b"\r\n", b"\n", b"\r\n\r\n", b"Host: tree.example.org", b"Content-Length: 3", b"Content-Length: -1", b": "),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: 100-continue", b"\0", b" \t", b"If-None-Match: x"),
)
PLACE = Place("127.0.0.1", 8080)


class Raw(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    text: str


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    configuration = f'[web]\nclients_max = {CLIENTS_MAX}\nhosts = ["tree.example.org", "other.example.org:8443"]\n'
    with closing(Gateway(tmp_path_factory.mktemp("guards"), configuration=configuration)) as gateway:
        gateway.start()
        yield gateway


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with webhooks."""
    with closing(Gateway(tmp_path_factory.mktemp("hooked"), configuration="[webhooks]\n")) as gateway:
        gateway.start()
        yield gateway


def ask(gateway: Gateway, sent: bytes) -> Raw:
    """Send bytes and return the answer, read until the gateway closes."""
    with closing(connected(gateway)) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        return answer(connection)


def connected(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=ANSWER_LIMIT_SECONDS)


def answer(connection: socket.socket) -> Raw:
    received = b""
    while part := connection.recv(65_536):
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Raw(int(status.split()[1]), headers, body.decode())


def request(line: str = "GET /live HTTP/1.1", host: str | None = None, *more: str, port: int = 0) -> bytes:
    host = f"localhost:{port}" if host is None else host
    return "\r\n".join([line, *([f"Host: {host}"] if host else []), "Connection: close", *more, "", ""]).encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(host="evil.example"), 421),
        (request(host="tree.example.org.evil.example"), 421),
        (request(host=""), 400),
        (request(host="a", line="GET /live HTTP/1.1\r\nHost: localhost"), 400),
        (request(host="a b"), 400),
        (request("GET http://localhost/live HTTP/1.1", "tree.example.org"), 400),
        (request("DELETE /live HTTP/1.1", "tree.example.org"), 405),
        (request("POST /live HTTP/1.1", "tree.example.org", "Content-Length: 9") + b"some=body", 413),
        (request("POST /live HTTP/1.1", "tree.example.org", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n", 413),
        (request(f"GET /{'a' * 9000} HTTP/1.1", "tree.example.org"), 414),
        (request(f"GET /?{'a=1&' * 1500} HTTP/1.1", "tree.example.org"), 400),
        (request("GET /live HTTP/1.1", "tree.example.org", *["X: y"] * 150), 431),
        (request("GET /live HTTP/1.1", "tree.example.org", *[f"X: {'y' * 9000}"] * 3), 431),
        (request("GET /live HTTP/1.1", "tree.example.org", f"X: {'y' * 3_000_000}"), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (request("GET /live HTTP/1.1", "tree.example.org", "no colon here"), 400),
        (request("GET /nothing HTTP/1.1", "tree.example.org"), 404),
        (request("GET /static/../settings.py HTTP/1.1", "tree.example.org"), 404),
        (request("GET /live HTTP/1.1", "tree.example.org"), 200),
        (request("GET /live HTTP/1.1", "tree.example.org:8443"), 200),
        (request("HEAD /live HTTP/1.1", "OTHER.example.org:8443"), 200),
    ],
)  # fmt: skip
def test_a_request_is_answered_or_refused_with_a_sentence_and_every_header(
    gateway: Gateway, sent: bytes, status: int
) -> None:
    found = ask(gateway, sent)
    assert found.status == status
    assert {name: found.headers.get(name) for name in HEADERS} == HEADERS
    assert "server" not in found.headers
    assert "Twisted" not in found.text
    if not sent.startswith(b"HEAD"):
        assert found.text.endswith(".\n")
    assert found.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("line", "more", "body", "status"),
    [
        ("POST /live HTTP/1.1", ["Content-Length: 9"], b"some=body", 413),
        ("POST /live HTTP/1.1", [], b"", 405),
        ("POST /hooksx HTTP/1.1", ["Content-Length: 9"], b"some=body", 413),
        ("POST /x/../hooks HTTP/1.1", ["Content-Length: 9"], b"some=body", 413),
        ("GET /hooks HTTP/1.1", ["Content-Length: 9"], b"some=body", 413),
        ("PUT /hooks HTTP/1.1", ["Content-Length: 9"], b"some=body", 413),
        ("DELETE /hooks/x HTTP/1.1", [], b"", 405),
        ("POST /hooks HTTP/1.1", ["Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n", 411),
        ("POST /hooks HTTP/1.1", ["Transfer-Encoding: identity"], b"GET /live HTTP/1.1\r\n\r\n", 501),
        ("GET /hooks HTTP/1.1", ["transfer-encoding:\tIdentity", "Content-Length: 3"], b"abc", 501),
        ("POST /hooks HTTP/1.1", ["Transfer-Encoding: gzip, chunked"], b"abc", 501),
        ("POST /hooks HTTP/1.1", ["Transfer-Encoding:"], b"abc", 501),
        ("POST /hooks HTTP/1.1", ["Content-Length: 3", "Transfer-Encoding: chunked"], b"abc", 400),
        ("POST /hooks HTTP/1.1", [f"Content-Length: {'9' * 5000}"], b"abc", 400),
        ("POST /hooks HTTP/1.1", [f"Content-Length: {'9' * 20}"], b"abc", 400),
        ("POST /hooks HTTP/1.1", [f"Content-Length: {'9' * 19}"], b"abc", 413),
        ("POST /hooks HTTP/1.1", ["Content-Length: 16385"], b"a" * 16_385, 413),
        ("POST /hooks HTTP/1.1", ["Content-Length: 16384"], b"a" * 16_384, 403),
        ("POST /hooks/x/test?y HTTP/1.1", ["Content-Length: 9"], b"some=body", 403),
    ],
)  # fmt: skip
def test_a_body_comes_in_only_below_hooks_and_only_while_webhooks_are_on(
    hooked: Gateway, gateway: Gateway, line: str, more: list[str], body: bytes, status: int
) -> None:
    found = ask(hooked, request(line, None, *more, port=hooked.port) + body)
    assert found.status == status
    assert found.text.endswith(".\n")
    without = status if status in (400, 501) else 413 if body else 405
    assert ask(gateway, request(line, "tree.example.org", *more) + body).status == without


def test_a_body_that_does_not_come_is_not_waited_for(hooked: Gateway) -> None:
    began = time.monotonic()
    found = ask(hooked, request("POST /hooks HTTP/1.1", None, "Content-Length: 9", port=hooked.port) + b"some")
    assert found.status == 408
    assert found.text == "The body did not come within 15 s.\n"
    assert time.monotonic() - began > 14


def test_a_forwarded_host_is_not_trusted(gateway: Gateway) -> None:
    more = ("X-Forwarded-Host: tree.example.org", "Forwarded: host=tree.example.org")
    assert ask(gateway, request("GET /live HTTP/1.1", "evil.example", *more)).status == 421


def test_headers_that_come_byte_by_byte_are_cut_off_and_others_are_answered_meanwhile(gateway: Gateway) -> None:
    with closing(connected(gateway)) as slow:
        slow.sendall(b"GET /live HTTP/1.1\r\n")
        began = time.monotonic()
        found = None
        while found is None:
            assert time.monotonic() < began + ANSWER_LIMIT_SECONDS
            slow.settimeout(0.5)
            try:
                slow.sendall(b"X")
                if slow.recv(1, socket.MSG_PEEK):
                    slow.settimeout(ANSWER_LIMIT_SECONDS)
                    found = answer(slow)
            except TimeoutError:
                assert gateway.get("/live").status == 200
        assert found.status == 408
        assert found.text == "The request did not come within 5 s.\n"


def test_there_are_no_more_connections_than_may_be_and_one_that_ends_makes_room(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for _ in range(CLIENTS_MAX + 200):
            stack.enter_context(connected(gateway))
        wait_until(lambda: is_cut(gateway))
    wait_until(lambda: not is_cut(gateway))
    assert 'refused_requests_total{kind="connections"} 0' not in gateway.get("/metrics").text


def is_cut(gateway: Gateway) -> bool:
    try:
        return ask(gateway, request(port=gateway.port)).status != 200
    except (ConnectionError, IndexError):
        return True


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=12).map(b"".join))
def test_whatever_bytes_come_the_gateway_answers_in_form_and_goes_on(gateway: Gateway, sent: bytes) -> None:
    with closing(connected(gateway)) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                received += part
    assert received == b"" or received.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))
    assert "Traceback" not in gateway.stderr()


def test_no_page_and_no_log_names_who_asked_for_what(gateway: Gateway) -> None:
    gateway.get("/nothing?secret=hunter2", headers={"User-Agent": "curl-of-alice"})
    said = gateway.stderr() + gateway.get("/metrics").text
    assert "hunter2" not in said
    assert "curl-of-alice" not in said


@given(st.from_regex(rb"[ -~]{0,60}", fullmatch=True))
def test_no_other_host_passes_whatever_it_looks_like(header: bytes) -> None:
    known = known_hosts("127.0.0.1:8080", ["tree.example.org"], PLACE)
    passes = check(b"GET", b"/", [header], known) is None
    name = header.decode().strip().lower()
    host = name.partition(":")[0].rstrip(".") if not name.startswith("[") else name
    assert not passes or host == "tree.example.org" or name in known


def test_the_address_of_a_wildcard_is_the_one_that_was_connected_to() -> None:
    known = known_hosts("0.0.0.0:8080", [], Place("192.0.2.7", 8080))
    assert "192.0.2.7:8080" in known
    assert "0.0.0.0:8080" not in known
    assert "localhost:8080" not in known
    assert "[::1]:8080" in known_hosts("[::]:8080", [], Place("::1", 8080))


def test_a_gateway_says_what_is_wrong_with_its_address(tmp_path: Path, gateway: Gateway) -> None:
    for where, code, words in (
        (f"127.0.0.1:{gateway.port}", 1, "another program does; end it, or choose another port"),
        ("192.0.2.1:8080", 2, "that is no address of this machine"),
        ("nowhere", 2, "must be an address and a port, such as 127.0.0.1:8080"),
    ):
        with closing(Gateway(tmp_path / where.replace(":", "-"), options=["--listen", where])) as other:
            other.launch()
            assert other.wait() == code
            assert words in other.stderr()


def test_two_slashes_are_no_page_and_options_of_a_page_is_refused_with_a_sentence(make_gateway: MakeGateway) -> None:
    gateway = make_gateway()
    gateway.start()
    assert [gateway.get(path).status for path in ("/", "//", "//trees", "///x")] == [200, 404, 404, 404]
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
        for path, status in (("/trees", 405), ("/", 405), ("/ready", 405), ("/events", 204)):
            connection.request("OPTIONS", path)
            answer = connection.getresponse()
            assert (answer.status, b"<html" in answer.read()) == (status, False)
