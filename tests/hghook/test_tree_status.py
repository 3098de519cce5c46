# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A tree that is closed refuses pushes, whatever they would change, and its state is as exact as its pushes."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sourcepulse.events.event import event_id
from support.hg import faults as hg_faults
from support.hg.sites import EXTENSION_FOLDER, Repository, Site, serve_wsgi

CLOSED, OPENED, APPROVAL, REFUSED = (f"hg.tree.{word}.v1" for word in ("closed", "opened", "approval", "refused"))
_FAULTS = str(Path(hg_faults.__file__))
_KILL = "kill -9 $PPID"
_WAIT_SECONDS = 20.0


def _tree(site: Site, keys: str = "", *, other: str = "") -> tuple[Repository, Repository]:
    """Return a server with a first push, and a clone with one changeset more."""
    server = site.server(keys=f"source = hg://host\n{keys}", other=other)
    work = site.repository("work")
    work.commit("one")
    work.push(server)
    work.commit("two")
    return server, work


def _status(server: Repository) -> dict[str, object]:
    (item,) = json.loads(server.hg("treestatus", "--template", "json").stdout)
    return dict(item)


def _published(server: Repository) -> list[tuple[str, str | None, str | None]]:
    return [
        (event.data["state"], event.data["oldstate"], event.data["reason"])
        for event in server.events(of="hg.tree.")
        if event.type != REFUSED
    ]


def test_a_closed_tree_refuses_with_its_reason_and_an_opened_one_takes_the_push(each_site: Site) -> None:
    server, work = _tree(each_site)
    assert _status(server) == {"state": "open", "reason": None, "user": None, "until": None}
    server.hg("treestatus", "--close", "build bustage")
    assert _status(server) == {"state": "closed", "reason": "build bustage", "user": "localuser", "until": None}
    refused = work.push_ssh(server, check=False)
    assert refused.returncode != 0
    assert "the tree is closed: build bustage" in refused.stdout + refused.stderr
    assert server.nodes() == work.nodes()[:1]
    server.hg("treestatus", "--open")
    work.push_ssh(server)
    assert server.nodes() == work.nodes()

    assert _published(server) == [("closed", "open", "build bustage"), ("open", "closed", None)]
    closed, refusal = server.event(CLOSED), server.event(REFUSED)
    assert closed.routing_key == "hg.tree.closed.server"
    assert closed.id == event_id("hg://host/server", CLOSED, closed.data["change_set"])
    assert (closed.data["user"], closed.data["source"], closed.data["until"]) == ("localuser", "treestatus", None)
    assert refusal.data["state"] == "closed"
    assert refusal.data["reason"] == "build bustage"
    assert (refusal.data["count"], refusal.data["first"], refusal.data["last"]) == (1, work.nodes()[1], work.nodes()[1])
    assert (refusal.data["user"], refusal.data["source"], refusal.data["url"]) == ("sshuser", "serve", "remote:ssh")
    assert refusal.id == event_id("hg://host/server", REFUSED, refusal.data["change_set"])
    assert [event.type for event in server.every_event() if event.type[:7] != "hg.head"][-3:] == [
        REFUSED,
        OPENED,
        "hg.push.v1",
    ]


def test_setting_the_state_that_holds_already_is_published_once(site: Site) -> None:
    server, _ = _tree(site)
    for reason in ("lunch", "lunch", "dinner"):
        server.hg("treestatus", "--close", reason)
    server.hg("treestatus", "--open")
    server.hg("treestatus", "--open")
    assert _published(server) == [
        ("closed", "open", "lunch"), ("closed", "closed", "dinner"), ("open", "closed", None)
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["local", "http", "bundle1", "unbundle"])
def test_a_closed_tree_is_closed_whichever_way_a_push_takes(site: Site, way: str) -> None:
    server, work = _tree(site)
    server.hg("treestatus", "--close", "lunch")
    if way == "local":
        refused = work.push(server, check=False)
    elif way == "bundle1":
        refused = work.push_ssh(server, "--config", "devel.legacy.exchange=bundle1", check=False)
    elif way == "unbundle":
        work.hg("bundle", "--base", "null", site.folder / "b.hg")
        refused = server.hg("unbundle", site.folder / "b.hg", check=False)
    else:
        (server.path / ".hg" / "hgrc").open("a").write("[web]\nallow-push = *\npush_ssl = no\n")
        with serve_wsgi(server, "carol") as url:
            refused = work.hg("push", "--force", url, check=False)
    assert refused.returncode != 0
    assert server.nodes() == work.nodes()[:1]
    (refusal,) = server.events(of=REFUSED)
    assert refusal.data["user"] == {"http": "carol", "bundle1": "sshuser"}.get(way, "localuser")


def test_what_is_done_in_a_closed_repository_itself_passes(site: Site) -> None:
    server, work = _tree(site)
    server.hg("treestatus", "--close", "lunch")
    server.hg("pull", "--quiet", work.path)
    server.hg("update", "--quiet")
    server.commit("by an admin")
    server.hg("bookmark", "here")
    assert len(server.nodes()) == 3
    assert server.events(of=REFUSED) == []


@pytest.mark.parametrize("what", ["bookmark", "phase", "marker"])
def test_a_push_without_changesets_is_refused_too(each_site: Site, what: str) -> None:
    site = each_site
    server, work = _tree(site, other="[phases]\npublish = no\n[experimental]\nevolution = all")
    with (work.path / ".hg" / "hgrc").open("a") as hgrc:
        hgrc.write("[experimental]\nevolution = all\n")
    work.push(server)
    if what == "bookmark":
        work.hg("bookmark", "--rev", "0", "mark")
        server.hg("bookmark", "--rev", "1", "mark")
        server.hg("bookmark", "--rev", "0", "mark", "--force")
        work.hg("bookmark", "--rev", "1", "mark", "--force")
    elif what == "phase":
        work.hg("phase", "--public", "--rev", "1")
    else:
        work.hg("debugobsolete", "1" * 40, work.nodes()[0])
    server.hg("treestatus", "--close", "lunch")
    refused = work.push_ssh(server, *(["--bookmark", "mark"] if what == "bookmark" else []), check=False)
    assert "the tree is closed: lunch" in refused.stdout + refused.stderr
    (refusal,) = server.events(of=REFUSED)
    assert (refusal.data["count"], refusal.data["first"], refusal.data["last"]) == (0, None, None)
    if what == "phase":
        assert server.hg("log", "--rev", "1", "--template", "{phase}").stdout == "draft"


def test_approved_pushes_pass_by_the_words_of_the_admin(site: Site) -> None:
    words = "tree_closed_words = CLOSED TREE\ntree_approval_words =\n  (?i)\\ba\\S*=\n  (?i)^(back(ed)?|revert)\n"
    server, work = _tree(site, words)
    said = {"closed": ["no", "a=me"], "approval": ["no", "CLOSED TREE"]}
    passing = {"closed": ["fix, CLOSED TREE"], "approval": ["fix r=you a=me", "Backed out 1234", "A=RELEASE"]}
    for state in ("closed", "approval"):
        server.hg("treestatus", "--close" if state == "closed" else "--approval", "release")
        for message in said[state]:
            work.hg("commit", "--amend", "--message", message)
            assert work.push(server, check=False).returncode != 0, message
        for message in passing[state]:
            work.hg("commit", "--amend", "--message", message)
            work.push(server)
            work.commit("next")
    assert len(server.events(of=REFUSED)) == 4
    assert server.event(APPROVAL).data["state"] == "approval required"


def test_the_listed_users_pass_and_the_listed_admins_set_the_state(site: Site) -> None:
    server, work = _tree(site, "tree_users = sshuser\ntree_admins = alice")
    refused = server.hg("treestatus", "--close", "mine", check=False)
    assert "localuser may not set the state of this tree" in refused.stderr
    server.hg("treestatus", "--close", "mine", env={"USER": "alice"})
    assert work.push(server, check=False).returncode != 0
    work.push_ssh(server)
    assert server.nodes() == work.nodes()


def test_a_scheduled_reopening_is_published_once_by_the_first_push_after_it(each_site: Site) -> None:
    server, work = _tree(each_site)
    for patience_s in (4, 30):
        until = int(time.time()) + patience_s
        server.hg("treestatus", "--close", "lunch", "--until", f"{until} 0")
        if work.push(server, check=False).returncode != 0:
            break
        # A loaded machine began this push after the end of lunch.
        server, work = _tree(Site(each_site.folder / "again", each_site.program))
    else:
        pytest.fail("the tree was not closed")
    assert server.event(CLOSED).data["until"] == datetime.fromtimestamp(until, UTC).strftime(
        "%Y-%m-%dT%H:%M:%S.000000Z"
    )
    time.sleep(max(0.0, until - time.time()) + 0.1)
    work.push_ssh(server)
    work.commit("three")
    work.push_ssh(server)
    (opened,) = server.events(of=OPENED)
    push = server.events()[1]
    assert (opened.data["oldstate"], opened.data["user"]) == ("closed", None)
    assert opened.data["change_set"] == push.data["change_set"]
    assert _status(server)["state"] == "open"


def test_a_scheduled_reopening_is_published_by_treestatus_if_no_push_comes(site: Site) -> None:
    server, _ = _tree(site)
    server.hg("treestatus", "--approval", "lunch", "--until", f"{int(time.time()) + 2} 0")
    deadline = time.monotonic() + _WAIT_SECONDS
    while not server.events(of=OPENED):
        assert time.monotonic() < deadline
        server.hg("treestatus")
    server.hg("treestatus")
    assert [event.type for event in server.events(of="hg.tree.")] == [APPROVAL, OPENED]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--close", "a", "--open"), "only one of"),
        (("--open", "--until", "2099-01-01"), "--until requires"),
        (("--until", "2099-01-01"), "--until requires"),
        (("--close", "a", "--until", "2001-01-01"), "a time in the future"),
        (("--close", "a", "--until", "soon"), "invalid date"),
        (("--close", "a" * 3000), "at most 2000 characters"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words_and_changes_nothing(
    site: Site, options: tuple[str, ...], said: str
) -> None:
    server = site.server()
    refused = server.hg("treestatus", *options, check=False)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert _status(server)["state"] == "open"
    assert server.every_event() == []


@pytest.mark.parametrize(
    ("fault", "closed"),
    [
        (f"[hooks]\npretxnclose.kill = {_KILL}\n", False),
        (f"[extensions]\nfaults = {_FAULTS}\n[faults]\nat = validator\nhow = kill\n", False),
        (f"[extensions]\nfaults = {_FAULTS}\n[faults]\nat = finalize\nhow = exit\n", False),
        (f"[extensions]\nfaults = {_FAULTS}\n[faults]\nat = postclose\nhow = exit\n", True),
        (f"[hooks]\ntxnclose.kill = {_KILL}\n", True),
        ("[hooks]\npretxnclose.veto = false\n", False),
    ],
    ids=["before-us", "after-us", "in-finalize", "in-postclose", "in-txnclose", "veto"],
)
def test_state_and_event_agree_wherever_the_command_dies(each_site: Site, fault: str, closed: bool) -> None:
    server, work = _tree(each_site)
    hgrc = server.path / ".hg" / "hgrc"
    good = hgrc.read_text()
    hgrc.write_text(good + fault)
    server.hg("treestatus", "--close", "lunch", check=False)
    hgrc.write_text(good)
    if (server.path / ".hg" / "store" / "journal").exists():
        server.hg("recover")
    server.hg("sourcepulse-recover")
    assert (_status(server)["state"] == "closed") == closed
    assert len(server.events(of=CLOSED)) == closed
    assert (work.push(server, check=False).returncode != 0) == closed


def test_a_damaged_state_counts_as_closed_and_is_repaired_by_setting_it(site: Site) -> None:
    server, work = _tree(site)
    server.hg("treestatus", "--close", "lunch")
    (server.path / ".hg" / "store" / "sourcepulse" / "tree.json").write_bytes(b"{")
    refused = work.push(server, check=False)
    assert "the tree is closed: its status is not known" in refused.stderr
    assert "is damaged" in server.hg("treestatus", check=False).stderr
    server.hg("treestatus", "--open")
    work.push(server)
    assert _published(server)[-1] == ("open", None, None)


def test_a_closed_tree_stays_closed_when_the_repository_is_upgraded(site: Site) -> None:
    server, work = _tree(site)
    server.hg("treestatus", "--close", "lunch")
    server.hg("debugupgraderepo", "--run", "--optimize", "re-delta-all")
    assert work.push(server, check=False).returncode != 0
    server.hg("treestatus", "--open")
    work.push(server)


def test_a_refused_push_is_refused_even_if_its_event_cannot_be_saved(site: Site) -> None:
    server, work = _tree(site)
    server.hg("treestatus", "--close", "lunch")
    folder = server.path / ".hg" / "sourcepulse"
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("no folder")
    refused = work.push(server, check=False)
    assert "the tree is closed: lunch" in refused.stderr
    assert server.nodes() == work.nodes()[:1]


def test_tree_events_are_published_with_commits_switched_off(site: Site) -> None:
    server, _ = _tree(site, "commits = no")
    server.hg("treestatus", "--close", "Grüße", env={"HGENCODING": "utf-8"})
    assert server.event(CLOSED).data["reason"] == "Grüße"


def test_an_invalid_pattern_is_reported_and_opens_nothing(site: Site) -> None:
    server, work = _tree(site, "tree_closed_words = [\n")
    server.hg("treestatus", "--close", "lunch")
    refused = work.push(server, check=False)
    assert "tree_closed_words" in refused.stderr
    assert "not a regular expression" in refused.stderr
    assert refused.returncode != 0


def _service(site: Site, text: str, keys: str = "") -> tuple[Repository, Repository]:
    answer = site.folder / "answer"
    answer.write_text(text)
    return _tree(site, f"tree_command = cat {answer}\n{keys}")


def test_a_service_decides_and_its_changes_are_published_once(each_site: Site) -> None:
    site = each_site
    server, work = _service(site, "open")
    (site.folder / "answer").write_text('{"result": {"status": "closed", "reason": "bustage", "since": 1795345170}}')
    for _ in range(2):
        assert "the tree is closed: bustage" in work.push(server, check=False).stderr
    (site.folder / "answer").write_text("open: fixed\n")
    work.push(server)
    closed, opened = server.events(of=CLOSED)[0], server.events(of=OPENED)[0]
    assert closed.id == event_id("hg://host/server", CLOSED, "closed", "1795345170")
    assert (closed.data["oldstate"], closed.data["user"]) == ("open", None)
    assert _published(server) == [("closed", "open", "bustage"), ("open", "closed", "fixed")]
    assert opened.data["reason"] == "fixed"
    assert len(server.events(of=REFUSED)) == 2
    refused = server.hg("treestatus", "--close", "x", check=False)
    assert "comes from a service" in refused.stderr


@pytest.mark.parametrize(
    ("command", "unreachable", "problem"),
    [
        ("false", "closed", "ended with 1"),
        ("echo strange", "closed", "says 'strange'"),
        ("sleep 60", "closed", "does not answer within 5 s"),
        ("yes closed", "closed", "prints more than 65536 bytes"),
        ("false", "open", ""),
    ],
)
def test_a_service_that_gives_no_answer_closes_the_tree_or_opens_it_as_configured(
    site: Site, command: str, unreachable: str, problem: str
) -> None:
    server, work = _service(site, "open", f"tree_unreachable = {unreachable}")
    hgrc = server.path / ".hg" / "hgrc"
    hgrc.write_text(hgrc.read_text().replace(f"cat {site.folder / 'answer'}", command))
    began = time.monotonic()
    result = work.push(server, check=False)
    assert time.monotonic() - began < _WAIT_SECONDS
    assert (result.returncode != 0) == (unreachable == "closed")
    if unreachable == "closed":
        assert f"the tree is closed: its status is not known: tree_command {problem}" in result.stderr
    assert _published(server) == []


def test_a_repository_without_a_state_pays_for_one_look(site: Site) -> None:
    server, work = _tree(site)
    work.push(server)
    assert not os.path.exists(server.path / ".hg" / "store" / "sourcepulse" / "tree.json")
    assert server.events(of="hg.tree.") == []


def test_help_and_readme_show_the_same_words_of_approval(site: Site) -> None:
    readme = (EXTENSION_FOLDER.parent / "README.md").read_text(encoding="utf-8")
    words = "(?i)^(back(ed|ing|s)?[ _-]*out|revert)"
    assert words in readme
    assert words in site.server().hg("help", "treestatus").stdout
