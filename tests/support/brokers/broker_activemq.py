# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""ActiveMQ as a conformance test uses it."""

from __future__ import annotations

from contextlib import suppress

from sourcepulse.brokers.url import BrokerUrl
from support.brokers.activemq import ActiveMqNode
from support.brokers.broker_under_test import Ear, RemoteBroker
from support.brokers.messages import SILENCE_SECONDS, WAIT_SECONDS, DeadLetter, Seen
from support.brokers.stomp_wire import Frame, StompWire


class ActiveMqBroker(RemoteBroker):
    """ActiveMQ over STOMP."""

    reports_unroutable = False
    sets_queue_limits = False
    reports_lost_queue = False

    def __init__(self, node: ActiveMqNode) -> None:
        super().__init__(node)
        self.node = node

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.url())

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.tls_url())

    def hear(self) -> Ear:
        ear = _StompEar(self._wire(), self.exchange)
        self._opened.append(ear)
        return ear

    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        with self._wire() as wire:
            topic = f"/topic/VirtualTopic.{self.exchange}.{routing_key}"
            headers = {"destination": topic, "persistent": "true", "content-length": str(len(body))}
            assert wire.request("SEND", headers, body).command == "RECEIPT"

    def take_dead(self, queue: str) -> list[DeadLetter]:
        letters: list[Frame] = []
        with self._wire() as wire:
            headers = {"destination": f"/queue/Consumer.{queue}.dead", "id": "0", "ack": "client-individual"}
            wire.send("SUBSCRIBE", headers)
            with suppress(TimeoutError):
                while True:
                    letters.append(wire.read(SILENCE_SECONDS))
            for frame in letters:
                wire.request("ACK", {"id": frame.headers["ack"]})
        return [
            DeadLetter(
                routing_key=frame.headers.get("x-routing-key", ""),
                body=frame.body,
                reason=frame.headers.get("x-reason", ""),
            )
            for frame in letters
        ]

    def remove_queue(self) -> None:
        # Without its console nothing removes a single queue; the store may go as a whole.
        self.kill()
        self.node.forget_everything()
        self.start()

    def _wire(self) -> StompWire:
        return StompWire(self.node.port, (self.plain.user, self.plain.password))


class StrictActiveMqBroker(ActiveMqBroker):
    """ActiveMQ where it wants a certificate of who comes over TLS."""

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.client_cert_url())


class NarrowActiveMqBroker(ActiveMqBroker):
    """ActiveMQ where it takes small messages only."""

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.url(port=self.node.small_port))

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.tls_url(port=self.node.small_tls_port))


class _StompEar(Ear):
    def __init__(self, wire: StompWire, exchange: str) -> None:
        self._wire = wire
        wire.request("SUBSCRIBE", {"destination": f"/topic/VirtualTopic.{exchange}.>", "id": "0", "ack": "auto"})

    def take(self, count: int) -> list[Seen]:
        return [
            Seen(
                routing_key=frame.headers["destination"].split(".", 2)[2],
                body=frame.body,
                content_type=frame.headers.get("content-type", ""),
                id=frame.headers.get("event-id", ""),
                type=frame.headers.get("type", ""),
                time=frame.headers.get("event-time", ""),
            )
            for frame in self._wire.read_all(count, WAIT_SECONDS)
        ]

    def close(self) -> None:
        self._wire.close()
