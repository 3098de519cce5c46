# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The password of a STOMP URL: of any characters, said to the broker alone, never without TLS where TLS is wanted."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest

from sourcepulse.brokers import Outcome
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ConfigError
from support.brokers import rabbit_admin
from support.brokers.activemq import ActiveMqNode
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.impostor import recorder
from support.brokers.messages import message, outcomes, receive, send_all
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.brokers.stomp import LIMIT_SECONDS, frozen, hasty, publisher, subscription, url_of

# B16: the password.


def test_with_tls_nothing_is_ever_said_without_it(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    with recorder() as (port, heard):
        for open_it in (
            hasty(url_of(stomp, tls=True, port=port)).open,
            stomp.hasty_subscription(url_of(stomp, tls=True, port=port), stomp.spec("#"), LIMIT_SECONDS).open,
        ):
            with pytest.raises(BrokerUnavailableError):
                open_it()
    # A TLS record that holds a handshake.
    assert {data[:2] for data in heard} == {b"\x16\x03"}
    assert stomp.encrypted.password.encode() not in b"".join(heard)


def test_no_logger_gets_the_password(
    stomp: StompRabbitBroker | ActiveMqBroker, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("stomp", "stomp.py", "sourcepulse"):
        caplog.set_level(logging.DEBUG, logger=name)
    stomp.prepare(stomp.exchange)
    url = url_of(stomp, tls=tls)
    sender, source = publisher(url, exchange=stomp.exchange), subscription(url, stomp.spec("#"))
    source.open()
    sender.open()
    send_all(sender, [message(1)])
    (delivery,) = receive(source, 1)
    source.reject(delivery, "because")
    with frozen(stomp), suppress(BrokerUnavailableError):
        source.receive(0.1)
    shown = f"{sender!r}{sender.__dict__!r}{source!r}{source.__dict__!r}{url!s}".replace(url, "")
    sender.close()
    source.close()
    assert stomp.plain.password not in caplog.text
    assert stomp.plain.password not in shown


ODD_PASSWORDS = ("co:lon", "back\\slash", "\\c\\n", "sl/ash%2F", "pässwörd→", "quo\"te'<&>", "{curly}$")


def test_passwords_of_any_characters_open_rabbitmq(rabbitmq: RabbitNode) -> None:
    users = {f"odd{number}": password for number, password in enumerate(ODD_PASSWORDS)}
    try:
        for user, password in users.items():
            rabbit_admin.add_user(rabbitmq, user, password)
            assert_opens(rabbitmq.stomp_url((user, escaped(password))), password)
    finally:
        for user in users:
            rabbit_admin.delete_user(rabbitmq, user)


def test_passwords_of_any_characters_open_activemq(
    activemq: ActiveMqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = ActiveMqNode(tmp_path_factory.mktemp("odd"))
    settings = node.folder / "activemq.xml"
    text = settings.read_text(encoding="utf-8")
    users = (
        f'<authenticationUser username="odd{number}" password="{in_xml(password)}" groups="{ADMIN[0]}"/>'
        for number, password in enumerate(ODD_PASSWORDS)
    )
    settings.write_text(text.replace("<users>", "<users>" + "\n".join(users), 1), encoding="utf-8")
    try:
        node.start()
        for number, password in enumerate(ODD_PASSWORDS):
            assert_opens(node.url((f"odd{number}", escaped(password))), password)
    finally:
        node.close()


def in_xml(text: str) -> str:
    return "".join(
        character if character.isalnum() and character.isascii() else f"&#{ord(character)};" for character in text
    )


def escaped(password: str) -> str:
    return "".join(f"%{byte:02X}" for byte in password.encode())


def assert_opens(url: str, password: str) -> None:
    sender = publisher(url)
    sender.open()
    assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
    sender.close()
    wrong = publisher(url.replace("@", "x@"))
    with pytest.raises(BrokerRefusedUsError) as caught:
        wrong.open()
    assert f"{password}x" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


@pytest.mark.parametrize("where", ["user", "password", "vhost"])
@pytest.mark.parametrize("character", ["%0A", "%0D", "%00"])
def test_a_login_with_a_line_end_is_refused_for_it_would_be_another_header(where: str, character: str) -> None:
    parts = {"user": "u", "password": "s3cret", "vhost": "v"}
    parts[where] += f"{character}x"
    with pytest.raises((BrokerRefusedUsError, ConfigError)) as caught:
        publisher("stomp+rabbitmq://{user}:{password}@127.0.0.1:1/{vhost}".format(**parts)).open()
    assert "line end" in str(caught.value)
    assert "s3cret" not in str(caught.value)
