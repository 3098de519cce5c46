# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The brokers: the way there, the login, and what it may do; nothing is declared and nothing is published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from sourcepulse.brokers.probe import probe
from sourcepulse.errors import SourcePulseError
from sourcepulse.events.topics import FAMILIES
from sourcepulse.operations.doctor.checks.network import reach
from sourcepulse.operations.doctor.finding import Finding, Job, broken, unchecked, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.relay.destination import STREAMS
from sourcepulse.relay.streams import Place

#: The last words of the routing keys that are tried.
KEY_WORDS = "doctor.check"


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield a job for each stream that has a broker."""
    for stream, prefix in STREAMS:
        if (place := situation.places.get(stream)) is not None:
            yield Job(id="SP201", about=str(place), run=partial(_broker, situation, place, prefix))


def families(situation: Situation) -> list[str]:
    """Return the first words of the keys that events of this outbox have."""
    kinds = [source.partition("://")[0] for source in situation.state.sources] if situation.state else []
    kinds += [origin.kind for origin in situation.state.origins] if situation.state else []
    needed = {word for kind in kinds for word in FAMILIES.get(kind, ())}
    # Heartbeats and what `emit` stores.
    return sorted(needed | {"system"})


def is_gateways(situation: Situation) -> bool:
    """Return whether the login at the broker is that of a web gateway, which reads, and not that of a relay."""
    return situation.outbox is None and any(name in situation.config.values for name in ("web", "webhooks"))


def _broker(situation: Situation, place: Place, prefix: str) -> Iterator[Finding]:
    url = place.url
    if url.scheme == "file":
        yield from _without_rights(situation, place, prefix)
        return
    way = reach(situation, url, prefix)
    yield from way.findings
    if not way.reached:
        yield unchecked("SP301", place, "the rights at a broker that cannot be reached")
        return
    if url.scheme.endswith("+activemq"):
        if is_gateways(situation):
            yield unchecked("SP312", place, "what the gateway's login may do, because this broker is not RabbitMQ")
        else:
            yield from _without_rights(situation, place, prefix)
        return
    if is_gateways(situation):
        from sourcepulse.operations.doctor.checks.gateway_rights import hook_rights, reading_rights

        yield from reading_rights(situation, place, prefix, way.reached)
        if not prefix:
            yield from hook_rights(situation, place)
        return
    # Imported here, because it loads the client's library, which an embedded log does not need.
    from sourcepulse.operations.doctor.checks.rights import rights

    found = list(rights(situation, place, prefix, families(situation), way.reached))
    yield from found
    if not found and len(way.reached) == len(url.hosts):
        known = ", ".join(families(situation))
        yield well("SP201", place, f"reached, and the relay may publish there: {known}")


def _without_rights(situation: Situation, place: Place, prefix: str) -> Iterator[Finding]:
    """Try what can be tried at a broker that names no reasons."""
    found = ""
    for family in families(situation) if place.url.scheme != "file" else ("system",):
        try:
            found = probe(place.url, place.exchange, f"{family}.{KEY_WORDS}")
        except SourcePulseError as error:
            yield broken("SP310", place, str(error), where=situation.url_place(prefix))
            return
    yield well("SP201", place, found)


__all__ = ["KEY_WORDS", "families", "is_gateways", "jobs"]
