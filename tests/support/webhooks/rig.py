# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Webhooks with all their real parts in a folder: a log, a hook store, receivers, and a sender that can be killed.

>>> with Rig(tmp_path) as rig:
...     room = rig.hook("chat-room", "hg.push.chat")
...     rig.start()
...     sent = rig.publish("chat", count=10)
...     rig.wait_until(lambda: room.got == sent)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from sourcepulse.brokers import Message
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.config import load
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, body, rows
from sourcepulse_web.webhooks.desk.resuming import resume
from sourcepulse_web.webhooks.hook import Attempt, Handshake, Hook, Standing, State
from sourcepulse_web.webhooks.notices.notices import Notices
from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.send.sender import Sender
from sourcepulse_web.webhooks.settings import Schedule, WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Figures
from sourcepulse_web.webhooks.store.store import HookStore
from sourcepulse_web.webhooks.visibility import Asker
from support.brokers.embedded_log import publish, publish_events, push_event
from support.webhooks.receiver import Manner, Receiver, Reply, Request

EXCHANGE = "sourcepulse"
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.01
POST_SECONDS = 5.0
#: Those that the kernel chooses among, and the one of HTTPS.
PORTS = (443, *range(1024, 65_536))
#: The usual schedule, about two hundred times as fast.
FAST = Schedule(retry_s=(0.0, 0.05, 0.1, 0.3), poison_s=1.0, poison_again_s=0.3, park_s=3_600.0, retry_after_max_s=20.0)


class Got(NamedTuple):
    """An event that a receiver accepted."""

    source: str
    number: int


class Room:
    """A receiver and the hook that leads to it; `got` is what it accepted, in order, with repeats.

    `answers` decides by the request and the number of the event, None for 204; it may be replaced at any time.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.secrets: list[str] = []
        self.answers: Callable[[Request, Got], Reply | None] = lambda _request, _event: None
        self._lock = threading.Lock()
        self._got: list[Got] = []
        self.receiver = Receiver(rule=self._rule, **options)

    @property
    def got(self) -> list[Got]:
        with self._lock:
            return list(self._got)

    @property
    def first_copies(self) -> list[Got]:
        """What it accepted, each event where it came first."""
        return list(dict.fromkeys(self.got))

    def by_source(self) -> dict[str, list[int]]:
        """Return the numbers of the events that it accepted, with repeats, by source."""
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.got:
            found[event.source].append(event.number)
        return dict(found)

    def _rule(self, request: Request) -> Reply:
        if request.method != "POST":
            return Reply(headers=(("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*")))
        body = json.loads(request.body)
        event = Got(body["source"], body["data"].get("number", 0))
        reply = self.answers(request, event) or Reply()
        if 200 <= reply.status < 300 and reply.manner is Manner.WHOLE and reply.raw is None:
            with self._lock:
                self._got.append(event)
        return reply


class Rig:
    """All parts in one folder; `settings` are members of WebhookSettings."""

    def __init__(self, folder: Path, *, schedule: Schedule = FAST, **settings: Any) -> None:
        self.folder = folder
        self.url = BrokerUrl(scheme="file", path=str(folder / "log.db"))
        usual: dict[str, Any] = {
            "allow": ("127.0.0.1", "[::1]"), "ports": PORTS, "post_seconds": POST_SECONDS, "schedule": schedule,
        }  # fmt: skip
        self.settings = WebhookSettings(**(usual | settings))
        self.rooms: dict[str, Room] = {}
        self._numbers: Counter[str] = Counter()
        self._parts = ExitStack()
        self.store = self._parts.enter_context(HookStore(folder / "webhooks.db"))
        self.queues = self._parts.enter_context(HookQueues(folder / "log.db", EXCHANGE))
        self._running: Running | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.kill()
        self._parts.close()
        for room in self.rooms.values():
            room.receiver.stop()

    # -- hooks

    def hook(
        self,
        name: str,
        *topics: str,
        url: str | None = None,
        handshake: Handshake = Handshake.OFF,
        **options: Any,
    ) -> Room:
        """Add a hook with a receiver of its own, and return that; `options` are those of `Receiver`."""
        room = self.rooms[name] = Room(name, **options)
        hook = Hook(
            name=name, url=url or room.receiver.url, topics=topics or ("#",), owner="alice@example.org",
            handshake=handshake,
        )  # fmt: skip
        secret = new_secret()
        room.secrets.append(secret)
        self.store.add(hook, secret, time.time())
        self.queues.declare(hook)
        return room

    def lead(self, former: str, name: str) -> None:
        """Add another hook to the receiver of one."""
        hook = self.store.hook(former)
        assert hook is not None
        self.store.add(replace(hook, name=name), new_secret(), time.time())
        self.queues.declare(replace(hook, name=name))

    def standing(self, name: str) -> Standing:
        return self.store.standing(name)

    def figures(self, name: str) -> Figures:
        return self.queues.figures(name)

    def attempts(self, name: str) -> list[Attempt]:
        """Return the attempts of a hook, oldest first."""
        return self.store.attempts.of_hook(name, 100_000)[::-1]

    def bus(self) -> list[tuple[str, str, str]]:
        """Return what the bus hears, when no sender runs: the state, the hook and the reason of each event."""
        with Outbox.open(self.folder / "webhooks-outbox.db") as outbox:
            found = [json.loads(body(outbox, int(row["position"]))) for row in rows(outbox, Selection())]
        return [(each["type"].split(".")[2], each["data"]["hook"], each["data"]["reason"]) for each in found]

    def pause(self, name: str) -> None:
        """Do what an owner's `pause` does."""
        self.store.update_standing(name, lambda was: replace(was, state=State.PAUSED, reason="its owner paused it"))
        self.store.wake_sender()

    def resume(self, name: str) -> None:
        """Do what an owner's `resume` does."""
        resume(self.store, name, time.time())
        self.store.wake_sender()

    def redirect(self, name: str, url: str) -> None:
        """Do what an owner's `edit` of the URL does."""
        hook = self.store.hook(name)
        assert hook is not None
        self.store.change(replace(hook, url=url))

    # -- events

    def publish(self, word: str = "chat", *, source: str = "a", count: int = 1) -> list[Got]:
        """Append events with the key hg.push.WORD, numbered on from the last of their source."""
        events = [self.event(word, source) for _ in range(count)]
        publish_events(self.url, *events, exchange=EXCHANGE)
        return [Got(event.source, event.data["number"]) for event in events]

    def publish_raw(self, key: str, raw: bytes) -> None:
        """Append bytes of any kind."""
        publish(
            self.url, [Message(tag=0, id="", type="", time="", routing_key=key, content_type="", body=raw)], EXCHANGE
        )

    def event(self, word: str, source: str) -> Event:
        """Return the next event of a source."""
        self._numbers[source] += 1
        return push_event(self._numbers[source], source=f"hg://host/{source}", words=(word,))

    # -- the sender

    def start(self, **options: Any) -> Running:
        """Run a sender in a thread of this process; `options` are those of `Sender`."""
        self.stop()
        self._running = Running(self.folder, self.settings, options)
        return self._running

    def stop(self) -> None:
        """End the sender of this process, if there is one."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def launch(self) -> int:
        """Run a sender as a process, and return its id."""
        assert self._child is None, "it runs"
        (self.folder / "settings.json").write_text(json.dumps(asdict(self.settings), default=str), encoding="utf-8")
        with (self.folder / "sender.log").open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "support.webhooks.sender_child", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            )  # fmt: skip
        return self._child.pid

    def kill(self) -> None:
        """Kill the sender process with SIGKILL, if there is one."""
        if self._child is not None:
            assert self._child.poll() is None, f"it has ended:\n{self.child_log()}"
            self._child.send_signal(signal.SIGKILL)
            self._child.wait(WAIT_SECONDS)
            self._child = None

    def child_log(self) -> str:
        """Return what the sender processes logged."""
        path = self.folder / "sender.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def wait_until(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Wait until a callable is true; AssertionError at the limit, with what each hook does."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen in time\n{self._state()}"
            time.sleep(POLL_SECONDS)

    def wait_idle(self, *names: str) -> None:
        """Wait until nothing waits for these hooks, or for all."""
        self.wait_until(lambda: all(self.figures(name).waiting == 0 for name in names or self.rooms))

    def _state(self) -> str:
        lines = [self.child_log()[-2000:]]
        if self._running is not None:
            lines.append(f"the sender: {self._running.sender.problem or 'well'}")
        for name, room in self.rooms.items():
            last = self.attempts(name)[-3:]
            lines.append(f"{name}: {self.figures(name)} {self.standing(name)} got {len(room.got)}\n  {last}")
        return "\n".join(lines)


class Running:
    """A sender in a thread of this process, with connections of its own to the files of a folder."""

    def __init__(self, folder: Path, settings: WebhookSettings, options: dict[str, Any]) -> None:
        self._stop = threading.Event()
        self._parts = ExitStack()
        self.store = self._parts.enter_context(HookStore(folder / "webhooks.db"))
        self.queues = self._parts.enter_context(HookQueues(folder / "log.db", EXCHANGE))
        self.notices = notices_of(folder)
        self.notices.start()
        self._parts.callback(self.notices.close)
        options.setdefault("asker", Asker(settings.bugzilla_outbox))
        options.setdefault("poster", Poster(settings))
        self.sender = Sender(
            self.store, self.queues, options.pop("poster"), self.notices, options.pop("asker"), settings, **options
        )
        self._thread = threading.Thread(target=self.sender.run, args=(self._stop,), name="sender")
        self._thread.start()

    def wait_for_end(self) -> None:
        """Wait until it ends by itself."""
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "the sender does not end"

    def stop(self) -> None:
        self._stop.set()
        self.queues.interrupt()
        self.wait_for_end()
        self._parts.close()


def notices_of(folder: Path) -> Notices:
    """Return notices that go to the log of a folder, each at once."""
    config = load({"broker": f"file://{folder}/bus.db"}, environ={})
    return Notices(folder / "webhooks-outbox.db", config, host="tree", failing_after_s=0.0, refused_s=0.001)
