# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The sender is killed with SIGKILL at random moments: nothing is lost, and a repeat has the same webhook-id."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sourcepulse_web.webhooks.hook import State
from sourcepulse_web.webhooks.post.signature import new_secret
from support.webhooks.receiver import Manner, Reply, Request
from support.webhooks.rig import Got, Rig, Room

SOURCES = "abc"
#: The longest life of a sender before it is killed, most of which is its start.
LIFE_SECONDS = 1.5
ROTATION_SECONDS = 3_600.0
#: How long the last sender, which is not killed, has for what waits.
REST_SECONDS = 900.0
#: The hooks whose receivers are bad, and how each answers.
BAD = ("refuses", "fails", "cuts")


def answer_of(name: str, chance: random.Random) -> Reply | None:
    """Return a bad answer now and then, by the name of the hook."""
    if name == "fails" and chance.random() < 0.2:
        return Reply(status=503)
    if name == "cuts" and chance.random() < 0.2:
        return Reply(status=200, body=b"x" * 100, manner=Manner.CUT)
    return None


def rooms_of(rig: Rig, hooks: int, chance: random.Random) -> list[Room]:
    """Return receivers of all events, some of them bad; one event in ten is refused by one."""
    rooms = []
    for number in range(hooks):
        name = BAD[number] if number < len(BAD) else f"good-{number}"
        room = rig.hook(name)

        def answer(_: Request, event: Got, name: str = name) -> Reply | None:
            if name == "refuses" and event.number % 10 == 5:
                return Reply(status=422)
            return answer_of(name, chance)

        room.answers = answer
        rooms.append(room)
    return rooms


@pytest.mark.parametrize(
    ("kills", "hooks", "events"),
    [(6, 10, 120), pytest.param(30, 50, 600, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)])],
)
def test_nothing_is_lost_by_kills_and_repeats_have_the_same_id_and_good_signatures(
    tmp_path: Path, kills: int, hooks: int, events: int
) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Rig(tmp_path) as rig:
        rooms = rooms_of(rig, hooks, chance)
        sent: list[Got] = []
        for kill in range(kills):
            rig.launch()
            for _ in range(events // kills):
                sent += rig.publish(source=chance.choice(SOURCES))
            if kill == kills // 2:
                rotate(rig, rooms)
            if kill % 2:
                # Some die as soon as they POST.
                arrived = len(rooms[-1].receiver.requests)
                rig.wait_until(lambda before=arrived: len(rooms[-1].receiver.requests) > before)  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, LIFE_SECONDS if kill % 2 == 0 else 0.2))
            rig.kill()
        rig.launch()
        rig.wait_until(lambda: all(rig.figures(room.name).waiting == 0 for room in rooms), seconds=REST_SECONDS)
        rig.kill()
        for room in rooms:
            check(rig, room, sent)


def rotate(rig: Rig, rooms: list[Room]) -> None:
    """Rotate the secret of each hook; the former one signs as well."""
    for room in rooms:
        room.secrets.append(new_secret())
        now = time.time()
        rig.store.rotate(room.name, room.secrets[-1], now + ROTATION_SECONDS, now)


def check(rig: Rig, room: Room, sent: list[Got]) -> None:
    """Nothing is lost, each source is in order, and what came again is the same."""
    refused = {event for event in sent if room.name == "refuses" and event.number % 10 == 5}
    assert sorted(room.first_copies) == sorted(set(sent) - refused), room.name
    for source, numbers in room.by_source().items():
        assert numbers == sorted(numbers), (room.name, source)
    aside = {json.loads(raw)["data"]["number"] for raw in bodies_set_aside(rig, room)}
    assert aside == {event.number for event in refused}
    assert rig.figures(room.name).set_aside == len(refused)
    assert rig.standing(room.name).state is State.ON
    copies: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
    for request in room.receiver.requests:
        # The official verifier takes the first secret or the second one, whichever signs.
        assert any(verifies(request, secret) for secret in room.secrets)
        copies[json.loads(request.body)["id"]].add((request.headers["webhook-id"], request.body))
    assert all(len(each) == 1 for each in copies.values()), "a repeat differs from the first copy"


def bodies_set_aside(rig: Rig, room: Room) -> list[bytes]:
    loaded = [rig.queues.load(letter.position) for letter in rig.queues.set_aside_list(room.name)]
    return [each.body for each in loaded if each is not None]


def verifies(request: Request, secret: str) -> bool:
    try:
        Webhook(secret).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True
