# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TLS to RabbitMQ over AMQP, beyond what conformance/test_tls.py proves at every broker."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
import trustme

from sourcepulse.brokers import Outcome
from sourcepulse.errors import BrokerRefusedUsError
from support.brokers.amqp import publisher
from support.brokers.impostor import refusal_of, server, tls_with
from support.brokers.messages import message, outcomes, settle
from support.brokers.rabbitmq import ADMIN, RabbitNode


def url_to(port: int, *, options: str = "") -> str:
    return f"amqps://{ADMIN[0]}:{ADMIN[1]}@localhost:{port}/pulse{options}"


def works(url: str) -> bool:
    sender = publisher(url)
    sender.open()
    sender.send(message(1))
    settled = outcomes(settle(sender, 1))
    sender.close()
    return settled[1] in (Outcome.DELIVERED, Outcome.UNROUTABLE)


def refusal(url: str) -> str:
    return refusal_of(publisher(url, connect_limit_s=5), ADMIN[1])


def test_large_messages_pass_through_tls(rabbitmq: RabbitNode) -> None:
    sender = publisher(rabbitmq.tls_url(options=f"?ca={rabbitmq.ca_file}"))
    sender.open()
    for number in range(50):
        sender.send(message(number, body=b"x" * 250_000))
    assert len(settle(sender, 50)) == 50
    sender.close()


def test_the_systems_trust_may_be_a_directory(
    rabbitmq: RabbitNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(rabbitmq.ca_file)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / f"{name}.0").symlink_to(rabbitmq.ca_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert works(rabbitmq.tls_url())


def test_the_error_mentions_that_a_certificate_has_expired(rabbitmq: RabbitNode) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = rabbitmq.ca.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    with server(tls=tls_with(expired)) as port:
        assert "expired" in refusal(url_to(port, options=f"?ca={rabbitmq.ca_file}"))


def test_the_error_for_a_port_without_tls_mentions_tls(rabbitmq: RabbitNode) -> None:
    assert "is that its TLS port?" in refusal(url_to(rabbitmq.port, options=f"?ca={rabbitmq.ca_file}"))


def test_the_error_for_plain_text_to_the_tls_port_names_amqps(rabbitmq: RabbitNode) -> None:
    assert "amqps://" in refusal(rabbitmq.url(port=rabbitmq.tls_port))


def test_a_client_certificate_is_shown_and_judged(rabbitmq: RabbitNode, tmp_path: Path) -> None:
    for name, ca in (("good", rabbitmq.ca), ("bad", trustme.CA())):
        ca.issue_cert("relay").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / name))
    trust = f"?ca={rabbitmq.ca_file}"
    assert works(rabbitmq.tls_url(options=f"{trust}&cert={tmp_path}/good"))
    text = refusal(rabbitmq.tls_url(options=f"{trust}&cert={tmp_path}/bad"))
    # The broker's word may get lost when it ends the connection; then all that may be wrong is named.
    assert "does not trust our certificate" in text or "does it trust ours" in text


def test_the_error_for_a_missing_client_certificate_names_the_option(rabbitmq: RabbitNode) -> None:
    with server(tls=tls_with(rabbitmq.ca.issue_cert("localhost"), rabbitmq.ca)) as port:
        assert "?cert=" in refusal(url_to(port, options=f"?ca={rabbitmq.ca_file}"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("?ca=/nonexistent/ca.pem", r"/nonexistent/ca\.pem of \?ca= cannot be read: No such file"),
        ("?ca={folder}", r"of \?ca= cannot be read: Is a directory"),
        ("?ca={folder}/garbage", r"garbage of \?ca= holds no certificate"),
        ("?cert=/nonexistent/cert.pem", r"cert\.pem of \?cert= cannot be read"),
        ("?cert={folder}/cert", r"cert of \?cert= .* not a certificate with its key"),
        ("?cert={folder}/cert&key={folder}/other-key", r"other-key of \?key= .*MISMATCH"),
        ("?cert={folder}/cert&key={folder}/encrypted", r"not a certificate with its key, unencrypted"),
        ("?key={folder}/other-key", r"\?key= but no \?cert="),
    ],
)
def test_files_that_cannot_be_used_are_named(rabbitmq: RabbitNode, tmp_path: Path, options: str, reason: str) -> None:
    (tmp_path / "garbage").write_text("garbage")
    certificate = rabbitmq.ca.issue_cert("relay")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
    rabbitmq.ca.issue_cert("other").private_key_pem.write_to_path(str(tmp_path / "other-key"))
    encrypt = ["openssl", "pkey", "-in", str(tmp_path / "key"), "-aes256", "-passout", "pass:x"]
    subprocess.run([*encrypt, "-out", str(tmp_path / "encrypted")], check=True)
    with pytest.raises(BrokerRefusedUsError, match=reason):
        publisher(rabbitmq.tls_url(options=options.format(folder=tmp_path))).open()
