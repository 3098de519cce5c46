# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TLS on every broker with a network: verified by chain and name, and each failure explained in words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from sourcepulse.brokers import Outcome
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.impostor import refusal_of
from support.brokers.messages import bodies, message, send_all
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import free_port

LIMIT_SECONDS = 3.0
#: A loopback address that the broker's certificate does not name.
OTHER_HOST = "127.0.0.2"


@pytest.fixture
def tls_port(remote: RemoteBroker) -> int:
    return remote.encrypted.hosts[0][1]


def passes(remote: RemoteBroker, url: str) -> bool:
    """Return whether a large message goes the whole way."""
    source = remote.hasty_subscription(url, remote.spec("#"), LIMIT_SECONDS)
    source.open()
    sender = remote.hasty_publisher(url, LIMIT_SECONDS)
    sender.open()
    outcomes = {item.outcome for item in send_all(sender, [message(1, body=b"\x00x" * 100_000), message(2)])}
    got = bodies(source, 2)
    sender.close()
    source.close()
    return outcomes == {Outcome.DELIVERED} and got == [b"\x00x" * 100_000, b"2"]


def refusal(remote: RemoteBroker, url: str) -> str:
    """Return the errors of a publisher and of a subscription that cannot connect, each without the password."""
    pieces = (
        remote.hasty_publisher(url, LIMIT_SECONDS),
        remote.hasty_subscription(url, remote.spec("#", durable=False), LIMIT_SECONDS),
    )
    # Some brokers answer nothing, and then both wait until their limit.
    with ThreadPoolExecutor() as pool:
        return "\n".join(pool.map(lambda piece: refusal_of(piece, remote.encrypted.password), pieces))


def test_a_ca_of_our_own_is_trusted(remote: RemoteBroker) -> None:
    assert passes(remote, remote.url_of(tls=True, options=f"?ca={remote.ca_file}"))


def test_without_a_ca_the_systems_trust_decides(remote: RemoteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(remote, remote.url_of(tls=True)).count("cannot be trusted") == 2
    monkeypatch.setenv("SSL_CERT_FILE", str(remote.ca_file))
    assert passes(remote, remote.url_of(tls=True))


def test_another_ca_is_not_trusted(remote: RemoteBroker, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    text = refusal(remote, remote.url_of(tls=True, options=f"?ca={tmp_path}/other.pem"))
    assert text.count("cannot be trusted") == 2
    assert "?ca=" in text


def test_the_host_name_is_verified(remote: RemoteBroker, tls_port: int) -> None:
    with Proxy(tls_port, host=OTHER_HOST) as proxy:
        url = remote.url_of(tls=True, hosts=f"{OTHER_HOST}:{proxy.port}", options=f"?ca={remote.ca_file}")
        assert refusal(remote, url).count("check the host name") == 2


def test_after_a_failover_the_name_of_that_host_is_verified(remote: RemoteBroker, tls_port: int) -> None:
    with Proxy(tls_port, host=OTHER_HOST) as proxy:
        dead, other = f"localhost:{free_port()}", f"{OTHER_HOST}:{proxy.port}"
        trust = f"?ca={remote.ca_file}"
        assert "check the host name" in refusal(remote, remote.url_of(tls=True, hosts=f"{dead},{other}", options=trust))
        assert passes(remote, remote.url_of(tls=True, hosts=f"{other},localhost:{tls_port}", options=trust))


def test_the_error_for_a_port_without_tls_mentions_tls(remote: RemoteBroker) -> None:
    hosts = f"localhost:{remote.plain.hosts[0][1]}"
    assert "TLS" in refusal(remote, remote.url_of(tls=True, hosts=hosts, options=f"?ca={remote.ca_file}"))


def test_the_error_for_plain_text_to_the_tls_port_mentions_tls(remote: RemoteBroker, tls_port: int) -> None:
    assert "TLS" in refusal(remote, remote.url_of(hosts=f"localhost:{tls_port}"))


def test_a_client_certificate_is_shown_and_judged(strict: RemoteBroker, tmp_path: Path) -> None:
    for name, ca in (("good", strict.ca), ("bad", trustme.CA())):
        ca.issue_cert("relay").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    trust = f"?ca={strict.ca_file}"
    assert passes(strict, strict.url_of(tls=True, options=f"{trust}&cert={tmp_path}/good"))
    assert refusal(strict, strict.url_of(tls=True, options=trust)).count("?cert=") == 2
    bad = refusal(strict, strict.url_of(tls=True, options=f"{trust}&cert={tmp_path}/bad"))
    # The broker's word may get lost when it ends the connection; then all that may be wrong is named.
    assert all("certificate" in line or "?cert=" in line for line in bad.splitlines())


@pytest.mark.parametrize("options", ["?ca=/nonexistent/ca.pem", "?cert=/nonexistent/cert.pem"])
def test_files_that_cannot_be_read_are_named(remote: RemoteBroker, options: str) -> None:
    with pytest.raises(BrokerRefusedUsError, match=r"/nonexistent/c.*cannot be read"):
        remote.hasty_publisher(remote.url_of(tls=True, options=options), LIMIT_SECONDS).open()


def test_a_tls_server_that_falls_silent_is_left_at_the_limit(remote: RemoteBroker, tls_port: int) -> None:
    with Proxy(tls_port) as proxy:
        proxy.to_client.hold()
        url = remote.url_of(tls=True, hosts=f"localhost:{proxy.port}", options=f"?ca={remote.ca_file}")
        with pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
            remote.hasty_publisher(url, 1.0).open()
