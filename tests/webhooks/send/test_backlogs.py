# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Thousands of events wait: those that are not for a hook, and those of a source that waits for a refused one."""

from __future__ import annotations

import threading
from pathlib import Path

from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.send.sender import Sender
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.visibility import Asker
from support.brokers.embedded_log import publish_events
from support.webhooks.receiver import Reply, Request
from support.webhooks.rig import EXCHANGE, Got, Rig, notices_of

REFUSED = Reply(status=422)
#: A refused event is not tried again while a test runs.
PATIENT = Schedule(retry_s=(0.0, 600.0))


def test_a_refused_event_whose_source_has_ten_thousand_waiting_stops_no_other_and_its_order_is_kept(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path, schedule=PATIENT) as rig:
        room = rig.hook("room")
        is_refused = [True]

        def answer(_: Request, event: Got) -> Reply | None:
            return REFUSED if is_refused[0] and event.source.endswith("busy") else None

        room.answers = answer
        busy = [event for _ in range(11) for event in rig.publish(source="busy", count=1_000)]
        other = rig.publish(source="other", count=5)
        running = rig.start()
        rig.wait_until(lambda: room.got == other)
        assert running.queues.held("room") < 1_000
        # A sender that starts finds them all again, and holds as few.
        running = rig.start()
        other += rig.publish(source="other", count=5)
        rig.wait_until(lambda: room.got == other)
        assert running.queues.held("room") < 1_000
        is_refused[0] = False
        rig.resume("room")
        rig.wait_until(lambda: len(room.got) >= len(other) + 300)
        assert room.got[len(other) :][:300] == busy[:300]
        rig.stop()
        assert rig.figures("room").waiting == len(busy) - (len(room.got) - len(other))


def test_a_sender_does_not_pause_while_it_looks_for_an_event_behind_thousands_that_are_for_no_hook(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path) as rig:
        room = rig.hook("room", "hg.push.rare")
        for _ in range(5):
            publish_events(rig.url, *[rig.event("noise", "n") for _ in range(1_000)], exchange=EXCHANGE)
        sent = rig.publish("rare")
        notices = notices_of(tmp_path)
        sender = Sender(rig.store, rig.queues, Poster(rig.settings), notices, Asker(None), rig.settings)
        assert [sender.turn() for _ in range(5)] == [0.0] * 5
        rig.wait_until(lambda: sender.turn() and room.got == sent)
        over = threading.Event()
        over.set()
        sender.run(over)
        notices.close()
        assert rig.standing("room").delivered == 1
