# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A pusher learns why a push is refused, whatever the reason holds, and nothing of the server's folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_hg.messages import Messages
from support.hg.sites import Repository, Site, serve

_LONG = "the reason " + "\u00e4" * 300 + " and its end"


def _closed(site: Site, reason: str) -> tuple[Repository, Repository]:
    server = site.server(other="[web]\npush_ssl = no\nallow_push = *\n")
    work = site.repository("work")
    work.commit("one")
    work.push(server)
    work.commit("two")
    server.hg("treestatus", "--close", reason)
    return server, work


@pytest.mark.parametrize("reason", [_LONG, "x" * 236, "bell \a and \x1b[31mred", "short"])
def test_the_reason_of_a_closed_tree_reaches_the_pusher_over_ssh(each_site: Site, reason: str) -> None:
    server, work = _closed(each_site, reason)
    refused = work.push_ssh(server, check=False, env={"HGENCODING": "utf-8"})
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "Traceback" not in said
    assert "stream ended unexpectedly" not in said
    assert reason[-12:].replace("\a", "?").replace("\x1b", "?") in said
    assert "push again when the tree is open" in said
    assert "\x1b" not in said
    assert len(server.nodes()) == 1


def test_the_reason_of_a_closed_tree_reaches_the_pusher_over_http(site: Site) -> None:
    server, work = _closed(site, _LONG)
    with serve(server) as url:
        refused = work.hg("push", "--force", url, check=False, env={"HGENCODING": "utf-8"})
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "and its end" in said
    assert "the tree is closed: the reason" in said


def test_a_first_copy_that_cannot_be_written_refuses_without_the_paths_of_the_server(each_site: Site) -> None:
    long = "d" * 100
    server = each_site.server(f"{long}/{long}/server")
    work = each_site.repository("work")
    work.commit("one")
    # The folder of the first copies in the store is in the way.
    (server.path / ".hg" / "store" / "sourcepulse").write_text("")
    refused = work.push_ssh(server, check=False)
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "stream ended unexpectedly" not in said
    assert "the first copy of the push's event cannot be written" in said
    assert "free or repair the storage" in said
    # Mercurial itself names paths, in lines of its own.
    assert not [line for line in said.splitlines() if "sourcepulse: " in line and long in line]


def test_a_warning_to_another_machine_names_no_path(site: Site) -> None:
    server = site.server(keys=f"outbox = {site.folder}/missing/outbox.db")
    work = site.repository("work")
    work.commit("one")
    pushed = work.push_ssh(server)
    said = "".join(line for line in (pushed.stdout + pushed.stderr).splitlines() if not line.startswith("pushing to "))
    assert "events are saved; the relay or the next push publishes them" in said
    assert str(site.folder) not in said
    work.commit("two")
    # Who works on the server itself may know.
    pushed = work.push(server)
    assert f"{site.folder}/missing" in pushed.stdout + pushed.stderr


class _Ui:
    def __init__(self) -> None:
        self.said: list[bytes] = []

    def warn(self, line: bytes) -> None:
        self.said.append(line)

    def log(self, *_: bytes) -> None:
        pass


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip))
def test_a_quoted_path_of_any_characters_is_hidden(name: str) -> None:
    name = name.replace("'", "").replace('"', "")
    ui = _Ui()
    Messages(ui, b"remote:ssh:x").warn(f"[Errno 2] No such file: '/secret{name}/end'")
    assert b"secret" not in ui.said[0]
    assert b"[Errno 2] No such file" in ui.said[0]


def test_what_is_not_a_path_stays() -> None:
    ui = _Ui()
    Messages(ui, b"remote:ssh:x").warn("12/24 of hg://host/repo and https://h/a at 50 % (a/b), see /srv/hg/a: no")
    assert ui.said == [b"sourcepulse: 12/24 of hg://host/repo and https://h/a at 50 % (a/b), see <path>: no\n"]


def test_an_environment_that_the_client_chose_makes_no_user_the_sheriff(site: Site, tmp_path: Path) -> None:
    server = site.server(keys="tree_users = sheriff\n")
    work = site.repository("work")
    work.commit("one")
    work.push(server)
    server.hg("treestatus", "--close", "no")
    work.commit("two")
    theirs = tmp_path / "hg"
    theirs.write_text(f'#!/bin/sh\nREMOTE_USER=sheriff USER=sheriff LOGNAME=sheriff exec {site.program.path} "$@"\n')
    theirs.chmod(0o755)
    pushed = work.push_ssh(server, "--config", f"ui.remotecmd={theirs}", check=False, env={"SHELL_ACCOUNT": "1"})
    assert pushed.returncode != 0
    assert "the tree is closed" in pushed.stdout + pushed.stderr
    # With a forced command the client has no say, and the environment is the server's.
    work.push_ssh(server, "--config", f"ui.remotecmd={theirs}")
    assert server.events()[-1].data["user"] == "sheriff"
    assert os.path.exists(server.outbox)
