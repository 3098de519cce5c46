# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every command of the page runs as printed, at a real gateway and receiver, and the POST on it is a real one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.events.event import Event
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.post.signature import sign, webhook_id_of
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.brokers.embedded_log import wait_until
from support.fenced_blocks import ROOT, block
from support.web.gateway import Gateway
from support.web.tree_events import Tree
from support.webhooks.example_receivers import ExampleReceiver
from support.webhooks.receiver import Receiver

PAGE = "shared/docs/webhooks.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
LIMIT_SECONDS = 60.0
#: The usual schedule, much faster.
FAST = "retry_seconds = [0, 0.2, 1]\npoison_minutes = 0.02\npoison_again_minutes = 0.01\n"
WRONG = "whsec_" + "A" * 44


class Site:
    """A gateway with the configuration of the page, and a shell that has it too."""

    def __init__(self, folder: Path, receiver: ExampleReceiver) -> None:
        self.folder = folder
        log = folder / "gateway" / "log.db"
        text = block(f"{PAGE}: broker =").text.replace("/var/lib/sourcepulse/log.db", str(log))
        text = text.replace("chat.internal:8065", receiver.allowed) + FAST
        self.gateway = Gateway(folder / "gateway", broker="file:", configuration=text)
        self.receiver = receiver
        self.tree = Tree("integration/inbound")
        self._places = {"https://chat.example.org/in/7": receiver.url}

    def run(self, script: str, code: int = 0) -> str:
        """Run what the page prints, with the places of this test."""
        for printed, here in self._places.items():
            script = script.replace(printed, here)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = os.environ | {"SOURCEPULSE_CONFIG": str(self.gateway.configuration), "PATH": path}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environ, cwd=self.folder, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
        )  # fmt: skip
        assert done.returncode == code, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def closes(self, reason: str) -> Event:
        (event,) = self.gateway.append(self.tree.closed(reason))
        return event

    def wait_for_refusal(self) -> None:
        """Wait until an event is set aside."""
        wait_until(lambda: json.loads(self.run("sourcepulse webhook list --json"))["set_aside"], LIMIT_SECONDS)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExampleReceiver("webhook_receiver.py", tmp_path / "receiver", []) as receiver:
        site = Site(tmp_path, receiver)
        try:
            site.gateway.start()
            yield site
        finally:
            site.gateway.close()


def test_every_command_of_the_page_does_what_the_page_says(site: Site) -> None:
    spans = set(re.findall(r"`(sourcepulse webhook [^`]+)`", TEXT))

    def run(span: str, code: int = 0, **words: str) -> str:
        spans.discard(span)
        for word, here in words.items():
            span = re.sub(rf"\b{word}\b", here, span)
        return site.run(span.replace("NAME", "chat-room"), code)

    early = site.closes("before the hook was there")
    add, test, show = block(f"{PAGE}: sourcepulse webhook add").script.splitlines()
    secret = site.run(add).strip()
    site.receiver.set_secrets([secret])
    assert "204" in site.run(test)
    assert "working" in site.run(show)
    assert "1 event" in run("sourcepulse webhook redeliver chat-room --since 24h")
    site.receiver.wait_for(1, early.id)

    # A rotation: the receiver changes within the day, and nothing is refused.
    rotated = run("sourcepulse webhook rotate chat-room").strip()
    first = site.closes("while both secrets sign")
    site.receiver.wait_for(1, first.id)
    site.receiver.set_secrets([rotated])
    second = site.closes("with the new secret")
    site.receiver.wait_for(1, second.id)

    # Refused, because the secret of the receiver is wrong, and sent again.
    site.receiver.set_secrets([WRONG])
    refused = site.closes("refused")
    site.wait_for_refusal()
    run("sourcepulse webhook test NAME", code=1)
    site.receiver.set_secrets([rotated])
    assert refused.id in run("sourcepulse webhook show NAME")
    run("sourcepulse webhook redeliver NAME --failed")
    site.receiver.wait_for(1, refused.id)
    site.receiver.set_secrets([WRONG])
    dropped = site.closes("dropped")
    site.wait_for_refusal()
    assert dropped.id in run("sourcepulse webhook drop NAME ID", ID=dropped.id)
    site.receiver.set_secrets([rotated])

    run("sourcepulse webhook pause NAME")
    waiting = site.closes("paused")
    run("sourcepulse webhook resume NAME")
    site.receiver.wait_for(1, waiting.id)
    assert "webhook.chat-room" in site.run("sourcepulse queues")

    listed = run("sourcepulse webhook list --json")
    assert secret not in listed
    assert rotated not in listed
    (site.folder / "FILE").write_text(listed, encoding="utf-8")
    run("sourcepulse webhook remove NAME --apply")
    assert run("sourcepulse webhook import FILE").startswith("chat-room whsec_")
    local = "sourcepulse webhook add try http://127.0.0.1:8000/ --topic '#'"
    spans.remove(local)
    assert 'allow = ["127.0.0.1:8000"]' in TEXT
    assert site.run(local.replace("127.0.0.1:8000", site.receiver.allowed)).startswith("whsec_")
    assert spans == set()


def test_the_post_on_the_page_is_one_that_its_secret_signed_and_has_what_is_sent() -> None:
    head, _, body = block(f"{PAGE}: POST /in/7 HTTP/1.1").text.rstrip("\n").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    event, sent = json.loads(body), body.encode()
    (secret,) = re.findall(r"It was signed with `(whsec_\S+)`", TEXT)
    assert headers["Content-Length"] == str(len(sent))
    assert headers["webhook-id"] == webhook_id_of(event["source"], event["id"])
    assert headers["webhook-signature"] == sign(
        [secret], headers["webhook-id"], int(headers["webhook-timestamp"]), sent
    )
    with Receiver() as receiver:
        poster = Poster(WebhookSettings(allow=(receiver.allowed,)))
        at = float(headers["webhook-timestamp"])
        hook = Hook(name="chat-room", url=receiver.url, topics=("#",))
        assert poster.post(hook, [secret], headers["webhook-id"], sent, at).accepted
        (request,) = receiver.requests
    got = dict(line.split(": ", 1) for line in request.lines)
    assert list(got) == list(headers)
    assert got | {"Host": headers["Host"], "User-Agent": headers["User-Agent"]} == headers


def test_every_setting_of_webhooks_is_in_the_table_of_the_page() -> None:
    from sourcepulse_web.webhooks.settings import SCHEDULE_KEYS, WEBHOOK_KEYS

    table = TEXT.partition("| key of `[webhooks]` |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*WEBHOOK_KEYS, *SCHEDULE_KEYS}


def test_every_event_about_a_webhook_is_on_the_page() -> None:
    schemas = ROOT / "shared" / "sourcepulse" / "schemas" / "events"
    types = {file.name.removesuffix(".json") for file in schemas.glob("system.webhook.*.json")}
    assert types
    assert [each for each in sorted(types) if each not in TEXT and each.removesuffix(".v1") not in TEXT] == []
