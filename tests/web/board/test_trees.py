# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The states of trees, the places of their builders, and what is no longer public."""

from __future__ import annotations

import json

import pytest

from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse_web.settings import BuilderSettings, TreeSettings
from support.web.board_events import BUGS, REPO, START, Build, Site, node
from support.web.board_log import BoardLog

SECRET = "the secret crash in parse.t"


def test_a_tree_is_not_known_until_an_event_says_its_state(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1), user="dave", descs=["Bug 1291 - arena\nmore"]))
    [tree] = log.board.trees()
    assert (tree["name"], tree["repo"], tree["state"], tree["since"]) == ("inbound", REPO, "not known", None)
    assert tree["newest"] is not None
    assert (tree["newest"]["user"], tree["newest"]["text"]) == ("dave", "Bug 1291 - arena")


def test_a_closed_tree_has_its_reason_its_bugs_and_what_was_refused_since(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.refused())
    closed = site.tree("closed", reason="unit fails, bug 1305", until="2026-11-22T10:30:00.000000Z")
    log.add(closed, site.refused(), site.refused())
    log.clock = START + 60
    tree = log.tree()
    assert (tree["state"], tree["by"], tree["since"]) == ("closed", "bob", closed.time)
    assert (tree["refused"], tree["overdue"]) == (2, False)
    assert [bug["id"] for bug in tree["reason_bugs"]] == [1305]
    log.clock = START + 3600
    assert log.tree()["overdue"]
    log.add(site.tree("open", oldstate="closed"))
    tree = log.tree()
    assert (tree["state"], tree["refused"], tree["until"], tree["overdue"]) == ("open", 0, None, False)


def test_approval_and_a_state_that_is_not_known_to_us(site: Site, log: BoardLog) -> None:
    log.add(site.tree("approval required", reason="ask carol"))
    assert log.tree()["state"] == "approval required"
    log.add(site.tree("half open"))
    assert log.tree()["state"] == "not known"


def test_an_older_state_that_is_replayed_changes_nothing(site: Site, log: BoardLog) -> None:
    closed, opened = site.tree("closed"), site.tree("open")
    log.add(closed, opened)
    log.add(closed._replace(replayed=True))
    assert log.tree()["state"] == "open"


def test_a_builder_has_its_place_on_every_push_for_seven_days(site: Site, log: BoardLog) -> None:
    log.add(*[site.push(node(n)) for n in range(100)], *Build(site, "linux64-opt-unit", node(0)).story())
    for days, shown in ((0, 1), (6, 1), (8, 0)):
        log.clock = START + 600 + days * 86_400
        page = log.board.page(REPO)
        assert page is not None
        assert [len(push["lines"]) for push in page["pushes"]] == [shown] * 50


def test_a_platform_that_only_the_build_knows_wins_over_a_request_of_the_same_second(site: Site, log: BoardLog) -> None:
    request = Build(site, "linux64-debug-unit", node(1), platform="unknown", buildtype="unknown").request()
    started = Build(site, "linux64-debug-unit", node(1), tree="inbound").started()
    log.add(
        site.push(node(1)), request, started._replace(data={**started.data, "started_at": request.data["submitted_at"]})
    )
    [line] = log.page()["places"]
    assert (line["platform"], line["buildtype"]) == ("linux64", "debug")


def test_lines_and_labels_are_in_the_order_of_the_design(site: Site, log: BoardLog) -> None:
    names = (
        "win64-opt-unit",
        "linux64-debug-ui-10",
        "linux64-debug-ui-2",
        "linux64-debug-build",
        "linux64-debug-z" * 5,
    )
    log.add(site.push(node(1)), *(Build(site, name, node(1), platform=name.split("-")[0]).request() for name in names))
    log.add(Build(site, "lint", node(1), platform="unknown", buildtype="unknown").request())
    lines = log.page()["places"]
    assert [(line["platform"], line["buildtype"]) for line in lines] == [
        ("linux64", "debug"),
        ("win64", "opt"),
        ("", ""),
    ]
    labels = [each["label"] for each in lines[0]["places"]]
    assert labels[:3] == ["build", "ui-2", "ui-10"]
    assert len(labels[3]) == 40
    assert "…" in labels[3]
    assert [each["label"] for each in lines[2]["places"]] == ["lint"]


def test_the_table_of_a_tree_wins(site: Site, log: BoardLog) -> None:
    builders = (
        BuilderSettings(name="linux64-opt-unit", label="tests", tier=2),
        BuilderSettings(name="linux64-opt-build"),
        BuilderSettings(name="never-seen"),
    )
    tree = TreeSettings(
        name="main",
        repository=REPO,
        builders=builders,
        hg_web="https://hg.example.org/x",
        bugzilla="https://bugs.example.org",
    )
    log.trees = {"main": tree}
    log.add(site.push(node(1)), *Build(site, "linux64-opt-build", node(1)).story())
    log.add(*Build(site, "linux64-opt-unit", node(1)).story(), *Build(site, "linux64-opt-a", node(1)).story())
    page = log.page()
    assert (page["tree"]["name"], page["tree"]["hg_web"]) == ("main", "https://hg.example.org/x")
    assert [(each["label"], each["tier"]) for line in page["places"] for each in line["places"]] == [
        ("tests", 2), ("build", 1), ("a", 1), ("never-seen", 1),
    ]  # fmt: skip
    assert page["pushes"][0]["descs"][0]["bugs"][0]["url"] == "https://bugs.example.org/show_bug.cgi?id=1234"


def test_a_request_takes_the_platform_from_the_builders_earlier_builds(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), *Build(site, "linux64-opt-unit", node(1)).story(), site.push(node(2)))
    log.add(Build(site, "linux64-opt-unit", node(2), platform="unknown", buildtype="unknown").request())
    [line] = log.pushes()[0]["lines"]
    assert (line["platform"], line["words"][0]["state"]) == ("linux64", "waiting")


@pytest.mark.parametrize("kind", ["hidden", "deleted"])
def test_a_bug_that_is_hidden_leaves_the_board(site: Site, log: BoardLog, kind: str) -> None:
    log.add(site.push(node(1)), *Build(site, "linux64-opt-unit", node(1)).story("failure", "tests/parse.t"))
    log.add(site.bug(1234, "created", summary=SECRET), site.comment(1234, f"{SECRET} since {node(1)}"))
    assert SECRET in everything(log)
    position = log.page()["position"]
    log.add(site.hidden(1234, kind))
    assert SECRET not in everything(log)
    assert "1234" in everything(log)
    update = log.board.changed(REPO, position, position + 1)
    assert update is not None
    assert [push["failures"][0]["bug"] for push in update["pushes"]] == [None]


def test_no_page_shows_what_was_hidden_before_the_gateway_read_it(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.bug(1234, "created", summary=SECRET))
    log.append(site.hidden(1234))
    assert SECRET not in everything(log)


def test_an_older_event_of_a_hidden_bug_that_comes_again_does_not_bring_it_back(site: Site, log: BoardLog) -> None:
    created = site.bug(1234, "created", summary=SECRET)
    log.add(site.push(node(1)), site.hidden(1234))
    log.add(created._replace(replayed=True))
    assert SECRET not in everything(log)


def test_what_is_withheld_afterwards_leaves_the_board(site: Site, log: BoardLog) -> None:
    created = site.bug(1234, "created", summary=SECRET)
    log.add(site.push(node(1)), created)
    assert SECRET in everything(log)
    log.add(withheld(created))
    assert SECRET not in everything(log)


def test_a_push_that_is_withheld_keeps_its_place_and_says_nothing(site: Site, log: BoardLog) -> None:
    push = site.push(node(1), user="mallory", descs=[SECRET])
    log.add(push, *Build(site, "linux64-opt-unit", node(1)).story())
    log.add(withheld(push))
    [shown] = log.pushes()
    assert (shown["withdrawn"], shown["user"], shown["node"], shown["descs"], shown["lines"]) == (
        True,
        None,
        "",
        [],
        [],
    )
    assert SECRET not in everything(log)
    assert "mallory" not in everything(log)


def withheld(event: Event) -> Event:
    """Return the stand-in that a relay sends for an event that is no longer public."""
    document = {
        "specversion": "1.0", "id": event.id, "source": event.source, "type": "system.event.withheld.v1",
        "time": event.time, "datacontenttype": "application/json",
        "dataschema": "urn:sourcepulse:system.event.withheld.v1", "data": {"type": event.type},
    }  # fmt: skip
    return decode(json.dumps(document).encode(), routing_key=event.routing_key)


def everything(log: BoardLog) -> str:
    """Return all documents and all of the file's bytes that a page could come from."""
    stories = [story for push in log.pushes() if push["node"] for story in log.board.story(push["node"])]
    return json.dumps([log.page(), log.board.trees(), stories, log.board.seen(bug_event())])


def bug_event() -> dict[str, object]:
    return {
        "type": "bugzilla.bug.changed.v1", "source": BUGS, "id": "x", "time": "2026-11-22T11:09:40.000000Z",
        "data": {"bug": {"id": 1234}},
    }  # fmt: skip
