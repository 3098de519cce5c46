# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""From a push and a build to a browser: real hg, a real master, relays, RabbitMQ, the gateway's bridge, the pages."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import as_message, wait_until
from support.brokers.messages import unique
from support.brokers.rabbit_admin import close_all_connections
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.buildbot.masters import Master, make_template, require_buildbot
from support.hg.sites import VENV_HG, Site
from support.streams.relays import relays
from support.web.browser import Browser
from support.web.bus import rows_of
from support.web.gateway import EXCHANGE, Gateway, MakeGateway
from support.web.tree_events import Tree, like_recorded

REPO = "integration/inbound"
BUILDER = "linux64-unit"
LIMIT_SECONDS, LIMIT_MS = 60.0, 60_000
#: From the moment that an event is in the log to the page, on a machine with other work; idle: some hundredths.
SHOWN_SECONDS = 10.0
RED = '<testsuite><testcase name="handles_empty" file="parse.t"><failure message="no"/></testcase></testsuite>'
MASTER = """
c["services"].append(reporters.PulseStatusPush(
    name="ci", outbox="outbox.db", broker="{url}", exchange="{exchange}", heartbeat_s=1))
builder("{builder}", "cp {report} report.xml",
    steps.PublishTestReport(path="report.xml", description="unit", fail_on_failures=True))
"""
WATCH = """selector => { window.seen = new Promise(done => {
    const look = () => document.querySelector(selector) ? done(Date.now() / 1000) : setTimeout(look, 5);
    look();
}); }"""


class Chain:
    """A repository and a master that publish to RabbitMQ, and a gateway that bridges it."""

    def __init__(self, folder: Path, rabbitmq: RabbitNode, make_gateway: MakeGateway) -> None:
        site = Site(folder / "site", VENV_HG)
        self.outbox = folder / "outbox.db"
        keys = f"root = {site.folder}\nsource = hg://hg.example.org\nrepo_url = https://hg.example.org/{{repo}}\n"
        keys += f"outbox = {self.outbox}\nbroker = {rabbitmq.url()}"
        self.server, self.work = site.server(REPO, keys=keys), site.repository("work")
        report = folder / "report.xml"
        report.write_text(RED)
        config = MASTER.format(url=rabbitmq.url(), exchange=EXCHANGE, builder=BUILDER, report=report)
        self.master = Master(make_template(folder / "template"), folder / "master", config)
        self.gateway: Gateway = make_gateway(
            broker="",
            configuration=f'broker = "{rabbitmq.url()}"\nexchange = "{EXCHANGE}"\n',
            options=["--queue", f"{ADMIN[0]}.{unique('web')}"],
        )

    def start(self) -> None:
        self.gateway.start()
        self.master.start()

    def push(self, desc: str) -> str:
        """Push a changeset, and return it."""
        self.work.commit(desc)
        self.work.push(self.server)
        return self.work.nodes("tip")[0]

    def build(self, node: str) -> None:
        """Build a changeset."""
        place = {"repository": f"https://hg.example.org/{REPO}", "project": REPO, "branch": "default"}
        self.master.build(BUILDER, revision=node, **place)

    def appended(self, type_: str, **data: Any) -> float:
        """Return when the newest event of a type came into the log, in seconds since 1970."""
        wait_until(lambda: self._times(type_), LIMIT_SECONDS)
        return self._times(type_)[-1]

    def _times(self, type_: str) -> list[float]:
        return [row.at for row in rows_of(self.gateway.log, EXCHANGE) if row.type == type_]

    def close(self) -> None:
        self.master.close()
        for relay in relays(self.outbox):
            os.kill(relay, signal.SIGTERM)


def rows(page: Page) -> list[str]:
    """Return the sentences of a live page, newest first."""
    return page.locator(".row > p").all_inner_texts()


def test_a_real_push_and_a_real_build_are_shown_at_once_and_survive_restarts(
    tmp_path: Path, rabbitmq: RabbitNode, make_gateway: MakeGateway, browser: Browser
) -> None:
    require_buildbot()
    browser.allow("net::ERR_")
    with closing(Chain(tmp_path, rabbitmq, make_gateway)) as chain:
        chain.start()
        first = chain.push("Bug 1200 - begin")
        chain.appended("hg.push.v1")
        # Tabs of other windows, because a tab behind another paints nothing.
        live = browser.open(chain.gateway.url("/?key=hg.push.%23"), reader="live")
        board = browser.open(chain.gateway.url(f"/trees/{REPO}"), reader="board")
        expect(board.locator("#list .p")).to_have_count(1, timeout=LIMIT_MS)
        live.locator(".row", has_text="Bug 1200").wait_for()

        live.evaluate(WATCH, "#rows .row ~ .row")
        board.evaluate(WATCH, "#list .p ~ .p")
        second = chain.push("Bug 1234 - handle empty input")
        taken = [page.evaluate("() => window.seen") for page in (live, board)]
        delays = [seen - chain.appended("hg.push.v1") for seen in taken]
        board.evaluate(WATCH, f"#list .p:first-child [aria-label^='{BUILDER}: failed'], #list .day + .p .w.alone")
        chain.build(second)
        seen = board.evaluate("() => window.seen")
        delays.append(seen - chain.appended("build.finished.v1"))
        print("seconds from the log to live page, board, and a build on the board:", [f"{each:.3f}" for each in delays])
        assert max(delays) < SHOWN_SECONDS
        assert [row for row in rows(live) if "failed" in row] == []
        expect(board.locator(".f .test")).to_contain_text("parse.t", timeout=LIMIT_MS)

        chain.gateway.kill()
        third = chain.push("Bug 1240 - while the gateway is away")
        chain.gateway.start()
        close_all_connections(rabbitmq)
        fourth = chain.push("Bug 1250 - after a cut connection")
        for page, places in ((live, ".row"), (board, "#list .p")):
            expect(page.locator(places)).to_have_count(4, timeout=LIMIT_MS)
            texts = page.locator(places).all_inner_texts()
            nodes = [node[:12] for node in (fourth, third, second, first)]
            assert [node for text in texts for node in nodes if node in text] == nodes


def test_a_log_that_was_trimmed_while_a_page_was_away_shows_as_a_reset(
    make_gateway: MakeGateway, browser: Browser
) -> None:
    browser.allow("net::ERR_")
    gateway, tree = make_gateway(), Tree(REPO)
    gateway.start()
    gateway.append(tree.push("Bug 1 - before"))
    page = browser.open(gateway.url("/"))
    page.locator("#state:is(.live, .quiet)").wait_for()
    gateway.stop()
    gateway.append(*(tree.push(f"Bug {number} - lost") for number in range(2, 5)))
    with closing(
        LocalPublisher(BrokerUrl.parse(f"file://{gateway.log}"), exchange=EXCHANGE, keep_seconds=0)
    ) as publisher:
        publisher.open()
        publisher.send(as_message(tree.push("Bug 8 - the oldest that is kept")))
        publisher.settle(LIMIT_SECONDS)
    gateway.append(tree.push("Bug 9 - after"))
    gateway.start()
    page.locator(".row", has_text="Bug 9 - after").wait_for()
    hatch = page.locator(".hatch", has_text="Reset")
    hatch.first.wait_for()
    assert hatch.first.inner_text() == (
        "Reset 3 events before this will not come here: the log has dropped them already."
    )
    browser.shot(page, "e2e-reset")
    assert "lost" not in " ".join(rows(page))


def test_what_becomes_private_while_a_page_is_away_is_gone_from_it(make_gateway: MakeGateway, browser: Browser) -> None:
    browser.allow("net::ERR_")
    gateway = make_gateway()
    gateway.start()
    page = browser.open(gateway.url("/?key=bugzilla.%23"))
    page.locator("#state:is(.live, .quiet)").wait_for()
    place = {"source": "bugzilla://3f0b7a52", "words": ["Core", "DOM"], "subject_": "bug/1234"}
    gateway.append(like_recorded("bugzilla.bug.changed.v1", key=["1"], at=time.time(), **place))
    row = page.locator(".row")
    row.wait_for()
    row.locator(".time").click()
    page.locator(".open pre", has_text="Crash on empty input").wait_for()
    gateway.stop()
    gateway.append(like_recorded("bugzilla.bug.hidden.v1", key=["2"], at=time.time(), **place))
    gateway.start()
    page.locator(".row", has_text="withdrawn: no longer public").wait_for()
    assert "Crash on empty input" not in page.content()
    for path in ("/", "/events.json?limit=100", "/events.json?topic=bugzilla.%23"):
        assert "Crash on empty input" not in gateway.get(path).text


def test_a_sleeping_tab_shows_all_that_came_when_it_wakes(make_gateway: MakeGateway, browser: Browser) -> None:
    gateway, tree = make_gateway(), Tree(REPO)
    gateway.start()
    gateway.append(tree.push("Bug 1 - before"))
    pages = [browser.open(gateway.url(path), reader=path) for path in ("/", f"/trees/{REPO}")]
    with ExitStack() as sessions:
        for page, place in zip(pages, (".row", "#list .p"), strict=True):
            expect(page.locator(place)).to_have_count(1, timeout=LIMIT_MS)
            session = page.context.new_cdp_session(page)
            session.send("Page.setWebLifecycleState", {"state": "frozen"})
            sessions.callback(session.detach)
            sessions.callback(session.send, "Page.setWebLifecycleState", {"state": "active"})
        gateway.append(*(tree.push(f"Bug {number} - meanwhile") for number in range(2, 42)))
    for page, place in zip(pages, (".row", "#list .p"), strict=True):
        page.locator(place, has_text="Bug 41 - meanwhile").wait_for()
        expect(page.locator(place)).to_have_count(41, timeout=LIMIT_MS)
