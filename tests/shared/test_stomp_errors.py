# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What ERROR frames mean, by the words that RabbitMQ 3.10 and ActiveMQ 5.17 really use."""

from __future__ import annotations

import pytest

from sourcepulse.brokers.stomp.frames import TEXT_MAX_CHARACTERS, Blame, ErrorFrameError, Frame

_STACK = "\n\tat org.apache.activemq.transport.stomp.ProtocolConverter.onStompCommand(ProtocolConverter.java:245)"

#: The message header and the body of a frame, and who has to change something.
RABBITMQ = (
    ("Bad CONNECT", "Access refused for user 'relay'\n", Blame.US),
    ("Bad CONNECT", "Virtual host 'nowhere' access denied", Blame.US),
    ("Version mismatch", "Supported versions are 1.0,1.1,1.2\n", Blame.US),
    ("not_found", "NOT_FOUND - no exchange 'nope' in vhost 'pulse'", Blame.MISSING),
    ("not_found", "NOT_FOUND - no queue 'nope' in vhost 'pulse'", Blame.MISSING),
    (
        "access_refused",
        "ACCESS_REFUSED - access to exchange 'sourcepulse' in vhost 'pulse' refused for user 'reader'",
        Blame.US,
    ),
    (
        "access_refused",
        "ACCESS_REFUSED - access to queue 'stomp-subscription-gf9rBw9mP1Jl' in vhost 'pulse' refused for user 'relay'",
        Blame.US,
    ),
    (
        "access_refused",
        "ACCESS_REFUSED - access to topic 'bz.x' in exchange 'sourcepulse' in vhost 'pulse' refused for user 'narrow'",
        Blame.KEY,
    ),
    (
        "precondition_failed",
        (
            "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q1' in vhost 'pulse': "
            "received the value '5' of type 'long' but current is none"
        ),
        Blame.QUEUE,
    ),
    (
        "precondition_failed",
        "PRECONDITION_FAILED - message size 300000 is larger than configured max size 100000",
        Blame.MESSAGE,
    ),
    (
        "resource_locked",
        (
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'qx' in vhost 'pulse'. It could be "
            "originally declared on another connection or the exclusive property value does not match that of the "
            "original declaration."
        ),
        Blame.LOCKED,
    ),
    ("Processing error", "Processing error", Blame.UNKNOWN),
    ("Subscription not found", 'Message with id "T_1@@session-x@@1" has no subscription', Blame.TEMPORARY),
)
ACTIVEMQ = (
    ("User name [relay] or password is invalid.", "User name [relay] or password is invalid.", Blame.US),
    (
        "Invalid Protocol version[9.9], supported versions are: [1.2, 1.1, 1.0]",
        (
            "org.apache.activemq.transport.stomp.ProtocolException: Invalid Protocol version[9.9], supported versions "
            f"are: [1.2, 1.1, 1.0]{_STACK}"
        ),
        Blame.US,
    ),
    (
        "User reader is not authorized to write to: topic://VirtualTopic.sourcepulse.hg.x",
        "User reader is not authorized to write to: topic://VirtualTopic.sourcepulse.hg.x",
        Blame.KEY,
    ),
    (
        "COMMIT FAILED: Transaction marked rollback only xaErrorCode:100",
        (
            f"javax.transaction.xa.XAException: COMMIT FAILED: Transaction marked rollback only{_STACK}\n"
            "Caused by: java.lang.SecurityException: User narrow is not authorized to write to: "
            f"topic://VirtualTopic.sourcepulse.bz.x{_STACK}"
        ),
        Blame.KEY,
    ),
    (
        "User relay is not authorized to read from: queue://Consumer.x.VirtualTopic.sourcepulse.>",
        "User relay is not authorized to read from: queue://Consumer.x.VirtualTopic.sourcepulse.>",
        Blame.US,
    ),
    (
        "The maximum frame size was exceeded",
        f"org.apache.activemq.transport.stomp.ProtocolException: The maximum frame size was exceeded{_STACK}",
        Blame.MESSAGE,
    ),
    (
        "Unexpected ACK received for message-id [null]",
        f"org.apache.activemq.transport.stomp.ProtocolException: Unexpected ACK received for message-id [null]{_STACK}",
        Blame.TEMPORARY,
    ),
)


def error(message: str, body: str, *, secret: str = "") -> ErrorFrameError:
    return ErrorFrameError(Frame("ERROR", {"message": message}, body.encode()), secret)


@pytest.mark.parametrize(("message", "body", "to_blame"), [*RABBITMQ, *ACTIVEMQ])
def test_the_words_of_the_broker_decide_which_side_has_to_act(message: str, body: str, to_blame: Blame) -> None:
    assert error(message, body).blame is to_blame


def test_a_full_store_is_temporary_whatever_the_names_of_queues_and_classes() -> None:
    words = (
        "Persistent store is Full, 100% of 1000000. Stopping producer (ID:vm-1:2:-1:1) to prevent flooding "
        "queue://Consumer.password-bot.VirtualTopic.sourcepulse.>. See http://activemq.apache.org/"
    )
    at = "\n\tat org.apache.activemq.security.JaasAuthenticationBroker.send(JaasAuthenticationBroker.java:42)"
    assert error(words, f"javax.jms.ResourceAllocationException: {words}{_STACK}{at}").blame is Blame.TEMPORARY
    assert error("failed", f"java.io.IOException: failed{at}").blame is Blame.TEMPORARY


def test_the_text_is_one_line_and_says_each_thing_once() -> None:
    assert error("not_found", "NOT_FOUND - no queue 'q'").text == "not_found: NOT_FOUND - no queue 'q'"
    assert error("too large", f"\norg.Exception: too large{_STACK}").text == "org.Exception: too large"
    assert error("failed", f"Exc: failed{_STACK}\nCaused by: A: failed{_STACK}\nCaused by: B: full{_STACK}").text == (
        "Exc: failed: B: full"
    )
    assert error("alone", "").text == "alone"
    assert error("", "alone\nand more").text == "alone"
    assert error("", "").text == ""


def test_the_text_is_bounded() -> None:
    assert len(error("x" * 1_000_000, "y" * 1_000_000).text) == TEXT_MAX_CHARACTERS


def test_a_secret_that_the_broker_repeats_is_left_out() -> None:
    shown = error("bad s3cret", "password s3cret is wrong", secret="s3cret")
    assert "s3cret" not in f"{shown!r}{shown}{shown.text}"
    # Without a secret nothing is taken for one.
    assert error("a", "b").text == "a: b"


@pytest.mark.parametrize("body", [b"\xff\xfe", None, "text"])
def test_a_body_of_any_kind_is_read(body: object) -> None:
    assert ErrorFrameError(Frame("ERROR", {}, body)).blame is Blame.TEMPORARY
