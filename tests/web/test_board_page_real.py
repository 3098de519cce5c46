# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board, its wall and the list of trees at a real gateway: events that are appended are seen."""

from __future__ import annotations

from playwright.sync_api import expect

from support.web.board_events import REPO, Build, Site, node
from support.web.browser import WAIT_MS, WALL, Browser
from support.web.gateway import Gateway

PATH = f"/trees/{REPO}"


def test_what_happens_is_on_the_board_the_wall_and_the_list(gateway: Gateway, browser: Browser) -> None:
    site = Site()
    first, second = node(1), node(2)
    gateway.append(site.push(first), *Build(site, "linux64-debug-unit", first).story())
    board = browser.open(gateway.url(PATH))
    wall = browser.open(gateway.url(f"{PATH}?wall=1"), size=WALL)
    trees = browser.open(gateway.url("/trees"))
    expect(board.locator(".w.passed")).to_have_text("unit")
    expect(wall.locator("#failing")).to_have_text("nothing fails")

    build = Build(site, "linux64-debug-unit", second)
    gateway.append(site.push(second, user="carol", descs=["Bug 1288 - cache metrics"]), build.request())
    expect(board.locator(".p").first).to_contain_text("carol")
    expect(board.locator(".p").first.locator(".w.waiting")).to_have_text("unit")
    gateway.append(build.started())
    expect(board.locator(".p").first.locator(".w.running")).to_have_text("unit")
    gateway.append(build.failed("tests/parse.t"), build.ran("failure"), build.finished("failure"))
    expect(board.locator(".p").first.locator(".w.new")).to_have_text("unit")
    expect(board.locator(".f.new")).to_contain_text("tests/parse.t:41")
    expect(wall.locator("#failing li.new")).to_contain_text(f"new since carol {second[:12]}")
    expect(wall.locator("#list .w.new")).to_have_text("linux64 debug unit")
    expect(trees.locator("tbody .w.new")).to_have_text("tests/parse.t:41")

    gateway.append(site.tree("closed", reason="unit fails, bug 1305"))
    expect(board.locator("#tree")).to_contain_text("unit fails, bug 1305")
    expect(wall.locator("#tree")).to_contain_text("CLOSED")
    expect(trees.locator("tbody .closed")).to_have_text("closed")
    expect(board).to_have_title("✖ 1 new · ■ closed · inbound")
    gateway.restart()
    browser.allow("ERR_|Failed to load resource")
    gateway.append(site.tree("open"))
    expect(board.locator("#tree")).to_have_count(0)
    expect(wall.locator("#tree")).to_have_count(0)
    assert gateway.get(f"{PATH}?format=json").document["tree"]["state"] == "open"

    gateway.stop()
    for file in gateway.folder.glob("log.db*"):
        file.unlink()
    gateway.start()
    other = Site()
    gateway.append(other.push(node(3), user="erin", descs=["Bug 9 - in another log"]))
    expect(board.locator(".p")).to_have_count(1, timeout=WAIT_MS)
    expect(board.locator(".p")).to_contain_text("erin")
