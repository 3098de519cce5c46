# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A receiver over TLS is the one that was named, or nothing is POSTed to it."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from sourcepulse_web.webhooks.errors import Problem
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Authority, Receiver

NAME = "hooks.internal"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def poster_for(receiver: Receiver, ca_file: Path | None, *, name: str = NAME, seconds: float = 60) -> Poster:
    """Return a poster that finds the receiver under a name that is allowed."""
    settings = WebhookSettings(allow=(f"{name}:{receiver.port}",), ca_file=ca_file, post_seconds=seconds)
    return Poster(settings, lambda *_: [(socket.AF_INET, ("127.0.0.1", receiver.port))])


def post(poster: Poster, receiver: Receiver, *, name: str = NAME) -> Answer:
    hook = Hook(name="a", url=f"https://{name}:{receiver.port}/in", topics=("hg.#",))
    return poster.post(hook, [new_secret()], "msg_1", b"{}", time.time())


def test_the_receiver_is_asked_for_by_its_name(authority: Authority) -> None:
    with Receiver(tls=authority.server(NAME)) as receiver:
        assert post(poster_for(receiver, authority.file), receiver).accepted
        request = receiver.requests[0]
    assert (request.asked_name, request.headers["host"]) == (NAME, f"{NAME}:{receiver.port}")


def test_a_receiver_can_be_an_address(authority: Authority) -> None:
    with Receiver(tls=authority.server("127.0.0.1")) as receiver:
        poster = poster_for(receiver, authority.file, name="127.0.0.1")
        assert post(poster, receiver, name="127.0.0.1").accepted
        # RFC 6066, section 3: an address is no server name.
        assert receiver.requests[0].asked_name is None


def test_a_wrong_certificate_stops_the_event(authority: Authority, tmp_path: Path) -> None:
    ended = datetime.now(UTC) - timedelta(days=1)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    cases = {
        "hostname mismatch": authority.server("other.internal"),
        "unable to get local issuer certificate": other.server(NAME),
        "certificate has expired": authority.server(NAME, not_after=ended, not_before=ended - timedelta(days=9)),
    }
    for words, tls in cases.items():
        with Receiver(tls=tls) as receiver:
            answer = post(poster_for(receiver, authority.file), receiver)
            assert (answer.status, answer.problem) == (None, Problem.CERTIFICATE)
            assert words in answer.reason.lower()
            assert receiver.requests == []


def test_without_a_file_only_the_authorities_of_the_system_are_trusted(authority: Authority) -> None:
    with Receiver(tls=authority.server(NAME)) as receiver:
        assert post(poster_for(receiver, None), receiver).problem is Problem.CERTIFICATE


def test_a_file_of_authorities_that_is_repaired_takes_effect(authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "site.pem"
    with Receiver(tls=authority.server(NAME)) as receiver:
        poster = poster_for(receiver, file)
        missing = post(poster, receiver)
        file.write_text("not a certificate")
        wrong = post(poster, receiver)
        other = trustme.CA()
        other.cert_pem.write_to_path(str(file))
        untrusted = post(poster, receiver)
        file.write_bytes(authority.file.read_bytes() + other.cert_pem.bytes())
        repaired = post(poster, receiver)
    assert [each.problem for each in (missing, wrong, untrusted)] == [Problem.CERTIFICATE] * 3
    assert "ca_file in [webhooks] cannot be used: No such file" in missing.reason
    assert "ca_file in [webhooks] cannot be used: it has no certificate" in wrong.reason
    assert repaired.accepted


def test_old_versions_of_tls_are_refused(authority: Authority) -> None:
    tls = authority.server(NAME)
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with Receiver(tls=tls) as receiver:
        answer = post(poster_for(receiver, authority.file), receiver)
        assert (answer.problem, receiver.requests) == (Problem.TLS, [])


def test_a_receiver_that_wants_a_certificate_of_ours_is_a_sentence(authority: Authority) -> None:
    tls = authority.server(NAME)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(str(authority.file))
    with Receiver(tls=tls) as receiver:
        answer = post(poster_for(receiver, authority.file), receiver)
        assert (answer.status, receiver.requests) == (None, [])
    assert answer.problem in (Problem.TLS, Problem.CONNECTION, Problem.CUT)


@pytest.fixture
def plain() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_receiver_without_tls_gets_nothing_over_https(plain: Receiver, authority: Authority) -> None:
    answer = post(poster_for(plain, authority.file, seconds=1.5), plain)
    assert (answer.status, plain.requests) == (None, [])
    assert answer.problem in (Problem.TLS, Problem.TIME)


def test_a_handshake_that_does_not_go_on_ends_at_the_deadline(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = WebhookSettings(allow=(f"127.0.0.1:{port}",), post_seconds=1.0)
        hook = Hook(name="a", url=f"https://127.0.0.1:{port}/in", topics=("hg.#",))
        answer = Poster(settings).post(hook, [new_secret()], "msg_1", b"{}", time.time())
    assert (answer.problem, answer.reason) == (
        Problem.TIME,
        "127.0.0.1 did not end the handshake of TLS in time",
    )
    assert answer.took_s < 20


def test_the_keys_of_tls_are_not_written_where_the_environment_points(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))
    with Receiver(tls=authority.server(NAME)) as receiver:
        assert post(poster_for(receiver, authority.file), receiver).accepted
    assert not os.path.exists(file)
