# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""With `auto_recover` a push outlives the transaction that another one's death left open."""

from __future__ import annotations

import pytest

from support.hg.sites import Site

_KILL = "[hooks]\npretxnclose.kill = kill -9 $PPID\n"


def test_the_next_push_rolls_back_what_a_dead_one_left_and_is_published_alone(each_site: Site) -> None:
    server, work = each_site.server(keys="auto_recover = yes"), each_site.repository("work")
    work.build("+2")
    hgrc = server.path / ".hg" / "hgrc"
    usual = hgrc.read_text(encoding="utf-8")
    hgrc.write_text(usual + _KILL, encoding="utf-8")
    work.push_ssh(server, "--rev", "0", check=False)
    hgrc.write_text(usual, encoding="utf-8")
    assert (server.path / ".hg" / "store" / "journal").exists()
    pushed = work.push_ssh(server)
    assert "left unfinished" in pushed.stderr + pushed.stdout
    assert server.nodes() == work.nodes()
    assert [[each["node"] for each in event.data["changesets"]] for event in server.events()] == [work.nodes()]
    server.hg("verify")


@pytest.mark.parametrize("keys", ["", "auto_recover = perhaps"])
def test_without_it_an_admin_decides(site: Site, keys: str) -> None:
    server, work = site.server(keys=keys), site.repository("work")
    work.build("+1")
    hgrc = server.path / ".hg" / "hgrc"
    usual = hgrc.read_text(encoding="utf-8")
    hgrc.write_text(usual + _KILL, encoding="utf-8")
    work.push(server, check=False)
    hgrc.write_text(usual, encoding="utf-8")
    refused = work.push(server, check=False)
    assert refused.returncode != 0
    assert "hg recover" in refused.stderr
    assert server.every_event() == []
