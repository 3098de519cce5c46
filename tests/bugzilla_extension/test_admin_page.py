# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The administrators' page of a real Bugzilla, and an extension that its web server cannot read.

`support.bugzilla.world` says which Bugzilla that is. As root the web server's scripts run as another user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path

import pytest

from support.bugzilla.web import BugzillaSite, Visitor, hidden_fields
from support.bugzilla.world import HOME, Desk, open_desk

PAGE = "page.cgi?id=sourcepulse.html"
OTHER_UID = 65_534
_AS_OTHER_USER = ("setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups")
#: A comment that is so much later than the last row is silence.
SILENCE_SECONDS = 11.0
REASON = '<script>alert("it has no & views")</script>'
_BURY = (
    "use lib qw(. lib local/lib/perl5); use Bugzilla; Bugzilla->dbh->do('UPDATE sourcepulse_outbox SET reason = ? "
    "WHERE bug_id = ?', undef, $_, $ARGV[1]) foreach $ARGV[0]"
)

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]


def _can_be_other_user() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    tests = ("test", "-r", f"{HOME}/extensions/SourcePulse/Extension.pm", "-a", "-w", f"{HOME}/data/params.json")
    return subprocess.run([*_AS_OTHER_USER, *tests], check=False).returncode == 0


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("bugzilla"), _AS_OTHER_USER if _can_be_other_user() else ()) as desk:
        yield desk


def _numbers(page: str, table: str) -> list[str]:
    (content,) = re.findall(rf'<table class="sourcepulse-{table}">(.*?)</table>', page, re.S) or [""]
    return re.findall(r"<tr>\s*<td>(\d+)</td>", content)


def test_buried_rows_are_shown_and_tried_again_one_and_all(desk: Desk) -> None:
    bugs = [desk.new_bug() for _ in range(3)]
    for bug in bugs[:2]:
        desk.run_perl("-e", _BURY, REASON, str(bug))
    page = desk.visitor.page(PAGE)
    waiting, buried = _numbers(page, "waiting"), _numbers(page, "buried")
    assert (len(waiting), len(buried)) == (1, 2)
    assert REASON not in page
    assert (
        page.count(REASON.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")) == 2
    )
    for bug in bugs:
        assert f'href="show_bug.cgi?id={bug}"' in page
    assert "bug.create" in page
    assert "could not become events" in page

    # Without a token Bugzilla asks for confirmation.
    retry = {"id": "sourcepulse.html", "action": "retry", "row": "all"}
    answer = desk.visitor.submit("page.cgi", retry)
    assert "are tried again" not in answer
    assert _numbers(desk.visitor.page(PAGE), "buried") == buried
    link = "&".join(f"{name}={value}" for name, value in {**retry, **hidden_fields(page)}.items() if name != "id")
    assert _numbers(desk.visitor.page(f"{PAGE}&{link}"), "buried") == buried

    page = desk.visitor.fill_in(PAGE, more={"row": buried[1]})
    assert "1 buried rows are tried again" in page
    assert _numbers(page, "buried") == buried[:1]
    assert buried[1] in _numbers(page, "waiting")
    page = desk.visitor.fill_in(PAGE, more={"row": "all"})
    assert _numbers(page, "buried") == []
    assert "could not become events" not in page

    created = [event.data["bug"]["id"] for event in desk.published() if event.type == "bugzilla.bug.created.v1"]
    assert sorted(created) == bugs
    assert _numbers(desk.visitor.page(PAGE), "waiting") == []


def _file_by_form(desk: Desk, summary: str) -> None:
    form = hidden_fields(desk.visitor.page(f"enter_bug.cgi?product={desk.product}"))
    form |= {"product": desk.product, "component": "Two", "version": "unspecified", "short_desc": summary}
    form |= {"comment": "described", "bug_severity": "normal", "rep_platform": "All", "op_sys": "All"}
    form |= {"priority": "---", "bug_status": "CONFIRMED", "target_milestone": "---"}
    page = desk.visitor.submit("post_bug.cgi", form)
    assert "has been successfully created" in page, page[-3000:]


@pytest.mark.skipif(
    not _can_be_other_user(), reason="the scripts cannot run as another user, or it may not read the tree"
)
def test_an_extension_that_the_web_server_cannot_read_is_noticed(desk: Desk, tmp_path: Path) -> None:
    link = Path(HOME) / "extensions" / "SourcePulse"
    readable = link.readlink()
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(link.resolve(), private / "SourcePulse", ignore=shutil.ignore_patterns("t"))
    _relink(link, private / "SourcePulse")
    try:
        assert desk.published() == []
        time.sleep(SILENCE_SECONDS)
        _file_by_form(desk, "no row is written")
        assert desk.published() == []
        (problem,) = desk.sidecar.status()["problems"]
        assert problem["name"] == "bugzilla-silent"
        assert "the extension has written no row since" in problem["message"]
        assert f"is {link} readable for the web server?" in problem["message"]
        # The page is a part of the extension.
        assert "Rows that wait" not in desk.visitor.page(PAGE)
    finally:
        _relink(link, readable)

    for page in (PAGE, "sanitycheck.cgi"):
        sentence = " ".join(re.sub(r"<[^>]*>", " ", unescape(desk.visitor.page(page))).split())
        assert "No row since" in sentence
        assert "is extensions/SourcePulse readable for the web server?" in sentence

    # The next row ends it, and the history has the bug.
    bug = desk.new_bug()
    created = [event.data["bug"] for event in desk.published("--reconcile") if event.type == "bugzilla.bug.created.v1"]
    assert [each["summary"] for each in created if each["id"] != bug] == ["no row is written"]
    desk.published()
    assert desk.sidecar.status()["problems"] == []
    assert "No row since" not in desk.visitor.page(PAGE)


def test_rows_of_another_web_server_are_fetched_though_its_nudge_does_not_arrive(desk: Desk, tmp_path: Path) -> None:
    if not (Path(HOME) / "data" / "db").is_dir():
        pytest.skip("the folders share a database that is a file")
    other = tmp_path / "other"
    shutil.copytree(HOME, other, symlinks=True, ignore=shutil.ignore_patterns("db", "sourcepulse.*"))
    (other / "data" / "db").symlink_to(Path(HOME) / "data" / "db")
    desk.sidecar.start()
    try:
        with closing(BugzillaSite(other)) as site:
            bug = Visitor(site, api_key=desk.made["api_key"]).rest("POST", "bug", desk.fields())["id"]
        assert not (other / "data" / "sourcepulse.sock").exists()
        created, comment = desk.arrived(2)
    finally:
        desk.sidecar.end()
    assert (created.type, created.data["bug"]["id"]) == ("bugzilla.bug.created.v1", bug)
    assert comment.data["comment"]["bug_id"] == bug


def _relink(link: Path, target: Path) -> None:
    link.unlink()
    link.symlink_to(target)
