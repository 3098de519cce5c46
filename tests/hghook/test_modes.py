# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Extension, hook, both, or half an installation: a push passes and is one event, and hg knows what is ours."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import sourcepulse
from sourcepulse_hg.commands.declarations import cmdtable
from sourcepulse_hg.commands.setting_keys import KEYS
from support.hg.sites import EXTENSION_FOLDER, SYSTEM_HG, Site

_HOOK_BY_NAME = "changegroup.sourcepulse = python:sourcepulse_hg.changegroup"
_HOOK_BY_PATH = f"changegroup.sourcepulse = python:{EXTENSION_FOLDER}/__init__.py:changegroup"


@pytest.mark.parametrize("mode", ["extension", "hook"])
def test_half_an_installation_warns_and_lets_pushes_pass(tmp_path: Path, mode: str) -> None:
    packages = tmp_path / "site-packages"
    shutil.copytree(EXTENSION_FOLDER, packages / "sourcepulse_hg")
    site = Site(tmp_path / "site", SYSTEM_HG)
    line = (
        f"[extensions]\nsourcepulse_hg = {packages}/sourcepulse_hg\n"
        if mode == "extension"
        else f"[hooks]\nchangegroup.x = python:{packages}/sourcepulse_hg/__init__.py:changegroup\n"
    )
    server = site.repository("server", line)
    work = site.repository("work")
    work.commit()
    result = work.push_ssh(server)
    assert "sourcepulse: the push is not published: ModuleNotFoundError" in result.stdout + result.stderr
    assert server.nodes() == work.nodes()


def test_a_push_during_an_upgrade_passes_and_is_published_with_the_next(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    shutil.copytree(EXTENSION_FOLDER, packages / "sourcepulse_hg")
    shutil.copytree(Path(sourcepulse.__file__).parent, packages / "sourcepulse")
    site = Site(tmp_path / "site", SYSTEM_HG)
    server = site.repository("server", f"[extensions]\nsourcepulse_hg = {packages}/sourcepulse_hg\n")
    work = site.repository("work")
    module = packages / "sourcepulse_hg" / "transaction" / "record.py"
    for is_there in (True, False, True):
        if not is_there:
            module.rename(module.with_suffix(".new"))
        work.commit()
        result = work.push_ssh(server)
        assert ("the push is not published" in result.stdout + result.stderr) == (not is_there)
        if not is_there:
            module.with_suffix(".new").rename(module)
    assert [event.data["last"] for event in server.events()] == work.nodes()
    assert [event.data["recovered"] for event in server.events()] == [False, True, False]


@pytest.mark.parametrize("line", [_HOOK_BY_NAME, _HOOK_BY_PATH], ids=["by-name", "by-path"])
def test_the_hook_alone_makes_the_same_event(site: Site, line: str) -> None:
    server = site.repository("server", f"[hooks]\n{line}\n[devel]\nall-warnings = yes\n")
    with_extension = site.server("with-extension")
    work = site.repository("work")
    work.build("+3")
    # Of configuration items Mercurial expects that they are registered, as those of extensions are.
    result = work.push_ssh(server)
    assert "devel-warn" not in result.stdout + result.stderr
    work.push_ssh(with_extension)
    event = server.event()
    different = {"repo": None, "change_set": None}
    events, others = server.every_event(), with_extension.every_event()
    types = ["hg.repo.created.v1", "hg.push.v1", "hg.branch.created.v1", "hg.head.created.v1"]
    assert [one.type for one in events] == types
    assert [one.type for one in others] == types
    for one, other in zip(events, others, strict=True):
        assert {**one.data, **different} == {**other.data, **different}
    assert event.data["change_set"].startswith("TXN:")
    assert event.data["count"] == 3
    assert server.first_copies() == []


def test_the_hook_works_in_a_system_hg_by_path(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", SYSTEM_HG)
    server = site.repository("server", f"[hooks]\n{_HOOK_BY_PATH}\n")
    work = site.repository("work")
    work.commit()
    work.push(server)
    work.commit()
    work.push(server)
    assert [event.data["last"] for event in server.events()] == work.nodes()


def test_both_modes_at_once_make_one_event(each_site: Site) -> None:
    line = _HOOK_BY_PATH if each_site.program is SYSTEM_HG else _HOOK_BY_NAME
    server = each_site.server(other=f"[hooks]\n{line}\n")
    work = each_site.repository("work")
    work.commit()
    work.push(server)
    work.commit()
    work.push_ssh(server)
    assert [event.data["last"] for event in server.events()] == work.nodes()


def test_a_hook_of_another_kind_says_so_and_lets_the_push_pass(site: Site) -> None:
    server = site.repository("server", "[hooks]\npretxnclose.x = python:sourcepulse_hg.changegroup\n")
    work = site.repository("work")
    work.commit()
    result = work.push(server)
    assert "changegroup hook" in result.stderr
    assert server.nodes() == work.nodes()


def test_the_hook_publishes_pulls_if_wanted_and_never_what_strip_adds_again(site: Site) -> None:
    server = site.repository("server", f"[extensions]\nstrip =\n[hooks]\n{_HOOK_BY_NAME}\n")
    upstream = site.repository("upstream")
    upstream.build("+1:base +1 <base +2")
    server.hg("pull", upstream.path)
    server.hg("strip", "--no-backup", "--rev", "1")
    assert len(server.nodes()) == 3
    assert [event.data["source"] for event in server.events()] == ["pull"]
    quiet = site.repository("quiet", f"[sourcepulse]\ncommits = no\n[hooks]\n{_HOOK_BY_NAME}\n")
    quiet.hg("pull", upstream.path)
    assert quiet.every_event() == []


def test_help_explains_every_key_and_hg_knows_them(each_site: Site) -> None:
    server = each_site.server()
    text = server.hg("help", "sourcepulse_hg").stdout
    for key in KEYS:
        assert f'"sourcepulse.{key.decode()}"' in text
    commands = [name.decode().partition("|")[0].lstrip("^") for name in cmdtable]
    assert set(commands) <= set(text.partition("list of commands:")[2].split())
    (about,) = json.loads(server.hg("debugextensions", "--template", "json").stdout)
    assert about["buglink"]
    # Mercurial blames an extension for a crash unless it says that it was tested with this version.
    assert server.hg("version", "--template", "{ver}").stdout.startswith(tuple(about["testedwith"]))
    assert text.startswith("sourcepulse_hg extension - publish pushes")
    assert "Returns 0" in server.hg("help", "sourcepulse-recover").stdout
    # An item that is not registered is a warning of the developers' checks.
    work = each_site.repository("work")
    work.commit()
    result = work.push(server, "--config", "devel.all-warnings=yes")
    assert "devel-warn" not in result.stderr


def test_a_required_extension_loads(site: Site) -> None:
    server = site.repository("server", "[extensions]\nsourcepulse_hg =\nsourcepulse_hg:required = yes\n")
    assert server.hg("id").returncode == 0


def test_a_push_that_goes_well_has_the_output_that_it_has_without_us_and_leaves_a_mark_in_the_store(site: Site) -> None:
    server, plain = site.server(), site.repository("plain")
    work = site.repository("quiet")
    work.commit()
    outputs = []
    for target in (server, plain):
        result = work.hg("push", "--debug", "--config", "extensions.blackbox=", f"file://{target.path}")
        output = (result.stdout + result.stderr).replace(str(target.path), "TARGET")
        outputs.append(re.sub(r"in [0-9.]+s", "in TIME", output))
    assert outputs[0] == outputs[1]
    stores = [sorted(path.name for path in (one.path / ".hg" / "store").iterdir()) for one in (server, plain)]
    # How far we have seen the changelog, and what a rollback would put back.
    assert [name for name in stores[0] if "sourcepulse-seen" not in name] == stores[1]
    assert "sourcepulse-seen" in stores[0]
    assert len(server.events()) == 1
