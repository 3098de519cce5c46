# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishers and subscriptions of the embedded log that break one promise each, to see that a test notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sourcepulse.brokers import Delivery, Message, Outcome, QueueLimits, Settlement, SubscriptionSpec
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.subscription import LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError


class _OtherSpec(LocalSubscription):
    """Asks the log for something other than what was requested."""

    change: dict[str, Any] = {}  # noqa: RUF012 - a constant of the class

    def __init__(self, url: BrokerUrl, spec: SubscriptionSpec) -> None:
        super().__init__(url, replace(spec, **self.changed(spec)))

    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return self.change


class TakesEverything(_OtherSpec):
    change = {"patterns": ("#",)}  # noqa: RUF012


class TakesTheFirstPatternOnly(_OtherSpec):
    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return {"patterns": spec.patterns[:1]}


class TakesAStarForAnyNumberOfWords(_OtherSpec):
    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return {"patterns": tuple(pattern.replace("*", "#") for pattern in spec.patterns)}


class TakesAHashForOneWordOrMore(_OtherSpec):
    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return {"patterns": tuple(pattern.replace("#", "*.#") for pattern in spec.patterns)}


class IgnoresThePrefetch(_OtherSpec):
    change = {"prefetch": 1000}  # noqa: RUF012


class SharesEveryQueue(_OtherSpec):
    change = {"shared": True}  # noqa: RUF012


class SharesNoQueue(_OtherSpec):
    change = {"shared": False}  # noqa: RUF012


class KeepsNothing(_OtherSpec):
    change = {"durable": False, "queue": None}  # noqa: RUF012


class KeepsTemporaryQueues(_OtherSpec):
    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return {"durable": True, "queue": spec.queue or "the-one"}


class HasOneQueueForAll(_OtherSpec):
    def changed(self, spec: SubscriptionSpec) -> dict[str, Any]:
        return {"queue": "the-one"} if spec.durable else {}


class HasOneExchangeForAll(_OtherSpec):
    change = {"exchange": "the-one"}  # noqa: RUF012


class BeginsAtTheStart(_OtherSpec):
    change = {"from_start": True}  # noqa: RUF012


class HasNoLimits(_OtherSpec):
    change = {"limits": QueueLimits()}  # noqa: RUF012


class IsAlwaysInterrupted(LocalSubscription):
    def open(self) -> None:
        super().open()
        self.interrupted = True


class IsNeverInterrupted(LocalSubscription):
    def open(self) -> None:
        super().open()
        self.interrupted = False


class _OtherDelivery(LocalSubscription):
    """Returns messages that differ from the real ones."""

    def receive(self, wait_seconds: float) -> Delivery | None:
        delivery = super().receive(wait_seconds)
        return None if delivery is None else self.changed(delivery)

    def changed(self, delivery: Delivery) -> Delivery | None:
        raise NotImplementedError


class ForgetsTheLastWord(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, routing_key=delivery.routing_key.rpartition(".")[0])


class ReadsText(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, body=delivery.body.decode("utf-8", "replace").encode())


class EndsAtAZeroByte(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, body=delivery.body.partition(b"\0")[0])


class ForgetsTheContentType(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, content_type="")


class NeverMarksRepeats(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, redelivered=False)


class MarksEverything(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        return replace(delivery, redelivered=True)


class LosesSomeDeliveries(_OtherDelivery):
    count = 0

    def changed(self, delivery: Delivery) -> Delivery | None:
        self.count += 1
        if self.count % 4:
            return delivery
        self.acknowledge(delivery)
        return None


class SwapsDeliveries(LocalSubscription):
    waiting: Delivery | None = None

    def receive(self, wait_seconds: float) -> Delivery | None:
        if self.waiting is not None:
            first, self.waiting = self.waiting, None
            return first
        first = super().receive(wait_seconds)
        second = None if first is None else super().receive(0.05)
        if second is None:
            return first
        self.waiting = first
        return second


class AcknowledgesOnReceipt(_OtherDelivery):
    def changed(self, delivery: Delivery) -> Delivery:
        super().acknowledge(delivery)
        return delivery

    def acknowledge(self, delivery: Delivery) -> None:
        pass

    def reject(self, delivery: Delivery, reason: str) -> None:
        pass


class NeverAcknowledges(LocalSubscription):
    def acknowledge(self, delivery: Delivery) -> None:
        pass


class AcknowledgesWhenItLeaves(LocalSubscription):
    def __init__(self, url: BrokerUrl, spec: SubscriptionSpec) -> None:
        super().__init__(url, replace(spec, prefetch=1000))
        self._later: list[Delivery] = []

    def acknowledge(self, delivery: Delivery) -> None:
        self._later.append(delivery)

    def close(self) -> None:
        for delivery in self._later:
            super().acknowledge(delivery)
        super().close()


class AcknowledgesAllBefore(LocalSubscription):
    def acknowledge(self, delivery: Delivery) -> None:
        assert isinstance(delivery.handle, int)
        for position in sorted(self._out):
            if position <= delivery.handle:
                super().acknowledge(replace(delivery, handle=position))


class TakesOldAcknowledgements(LocalSubscription):
    def acknowledge(self, delivery: Delivery) -> None:
        if delivery.handle in self._out:
            super().acknowledge(delivery)


class ForgetsWhatIsRejected(LocalSubscription):
    def reject(self, delivery: Delivery, reason: str) -> None:
        self.acknowledge(delivery)


class KeepsWhatIsRejected(LocalSubscription):
    def reject(self, delivery: Delivery, reason: str) -> None:
        pass


class ForgetsTheReason(LocalSubscription):
    def reject(self, delivery: Delivery, reason: str) -> None:
        super().reject(delivery, "")


class RaisesWhenLeftTwice(LocalSubscription):
    left = 0

    def close(self) -> None:
        self.left += 1
        super().close()
        if self.left > 1:
            raise BrokerUnavailableError("already closed")


class NeedsTimeToGive(LocalSubscription):
    def receive(self, wait_seconds: float) -> Delivery | None:
        return super().receive(wait_seconds) if wait_seconds > 0 else None


# Publishers.


class PublishesToOneExchange(LocalPublisher):
    def __init__(self, url: BrokerUrl, *, exchange: str) -> None:
        super().__init__(url, exchange="the-one")


class LosesSomeMessages(LocalPublisher):
    count = 0

    def send(self, message: Message) -> None:
        self.count += 1
        if self.count % 4:
            super().send(message)
        else:
            self._refused.append(Settlement(message.tag, Outcome.DELIVERED))


class SendsTwice(LocalPublisher):
    def send(self, message: Message) -> None:
        super().send(message)
        super().send(message)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        return list({item.tag: item for item in super().settle(wait_seconds)}.values())


class SendsTheLastFirst(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        self._batch.reverse()
        return super().settle(wait_seconds)


class SettlesTwice(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        return [*(settled := super().settle(wait_seconds)), *settled]


class SettlesWrongTags(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        return [replace(item, tag=item.tag % 2**31) for item in super().settle(wait_seconds)]


class SettlesBeforeItIsStored(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        settled = [Settlement(message.tag, Outcome.DELIVERED) for message in self._batch]
        self._batch = []
        return settled


class NeverSaysUnroutable(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        return [
            replace(item, outcome=Outcome.DELIVERED) if item.outcome is Outcome.UNROUTABLE else item
            for item in super().settle(wait_seconds)
        ]


class CutsBodies(LocalPublisher):
    def send(self, message: Message) -> None:
        super().send(replace(message, body=message.body[: 1 << 16]))


class CutsKeys(LocalPublisher):
    def send(self, message: Message) -> None:
        super().send(replace(message, routing_key=message.routing_key[:200]))


class WritesSmallLetters(LocalPublisher):
    def send(self, message: Message) -> None:
        super().send(replace(message, routing_key=message.routing_key.lower()))


class WaitsThoughItHasNoTime(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        if not wait_seconds:
            time.sleep(2.1)
        return super().settle(wait_seconds)


class WaitsForNews(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        if not self._batch:
            time.sleep(6)
        return super().settle(wait_seconds)


class RaisesWhenAbandonedTwice(LocalPublisher):
    left = 0

    def abandon(self) -> None:
        self.left += 1
        super().abandon()
        if self.left > 2:
            raise BrokerUnavailableError("already gone")


class RemembersAfterAbandon(LocalPublisher):
    def abandon(self) -> None:
        batch = getattr(self, "_batch", [])
        super().abandon()
        self._batch = batch


class RefusesEverythingAfterOne(LocalPublisher):
    poisoned = False

    def send(self, message: Message) -> None:
        super().send(message)
        self.poisoned = self.poisoned or bool(self._refused)
        if self.poisoned and self._batch:
            self._refuse(self._batch.pop(), "no place")


class DropsWhatIsTooLarge(LocalPublisher):
    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        return [replace(item, outcome=Outcome.DELIVERED) for item in super().settle(wait_seconds)]


class LeavesAThread(LocalPublisher):
    def open(self) -> None:
        super().open()
        threading.Thread(target=time.sleep, args=(4,), daemon=True).start()
