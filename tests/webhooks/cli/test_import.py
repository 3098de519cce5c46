# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse webhook import`: all hooks of a file or none, and no secret where it does not belong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.desk.entries import read_entries
from sourcepulse_web.webhooks.hook import PAUSED, PAUSED_BY_ADMIN, Standing, State
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import log_url, publish_events, push_event
from support.webhooks.hook_site import HookSite

URL = "http://127.0.0.1:9/in/7"
SECRET = "whsec_" + "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

MEMBERS = ["name", "url", "topics", "secret", "owner", "state", "reason", "x"]


@pytest.fixture
def site(tmp_path: Path) -> HookSite:
    return HookSite(tmp_path, 'allow = ["127.0.0.1:9"]\nowner_hooks_max = 2\nhooks_max = 5')


def entry(name: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "url": URL, "topics": ["#"], **members}


def write(site: HookSite, *values: Any, mode: int = 0o600) -> str:
    """Write a file with a JSON list."""
    file = site.folder / "hooks.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    file.chmod(mode)
    return str(file)


def secrets(site: HookSite, name: str) -> list[str]:
    with HookStore(site.store) as store:
        return [each.value for each in store.secrets(name)]


def test_what_list_prints_can_be_imported_elsewhere_with_or_without_the_secret(site: HookSite, tmp_path: Path) -> None:
    site.ok("add", "chat", URL, "--topic", "hg.#", "--owner", "alice@example.org", "--handshake", "require")
    site.ok("add", "bot", URL, "--topic", "#")
    site.ok("pause", "bot")
    before = [json.loads(line) for line in site.ok("list", "--json").stdout.splitlines()]
    (tmp_path / "there").mkdir()
    there = HookSite(tmp_path / "there", 'allow = ["127.0.0.1:9"]')
    lines = tmp_path / "hooks.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in before), encoding="utf-8")
    ran = there.ok("import", str(lines))
    made = dict(line.split() for line in ran.stdout.splitlines())
    assert {name: [secret] for name, secret in made.items()} == {name: secrets(there, name) for name in ("bot", "chat")}
    assert "2 hooks: 2 new, 0 updated; the secrets printed above are not shown again" in ran.stderr
    after = [json.loads(line) for line in there.ok("list", "--json").stdout.splitlines()]
    for former, new in zip(before, after, strict=True):
        for key in ("name", "url", "topics", "owner", "handshake"):
            assert former[key] == new[key]
    # What an admin paused stays so; what a hook has behind it stays where it was.
    assert {each["name"]: each["state"] for each in after} == {"bot": "paused", "chat": "not tried yet"}
    publish_events(log_url(there.folder), push_event(1))
    assert [json.loads(line)["waiting"] for line in there.ok("list", "--json").stdout.splitlines()] == [1, 1]


def test_a_secret_in_the_file_is_kept_and_not_printed(site: HookSite) -> None:
    ran = site.ok("import", write(site, entry("chat", secret=SECRET), entry("bot"), mode=0o644))
    assert secrets(site, "chat") == [SECRET]
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["bot"]
    assert SECRET not in ran.stderr
    assert "others can read the secrets" in ran.stderr


def test_replace_updates_what_is_there_and_keeps_what_waits(site: HookSite) -> None:
    site.ok("import", write(site, entry("chat", secret=SECRET), entry("bot", secret=OTHER)))
    publish_events(log_url(site.folder), push_event(1))
    ran = site.run("import", write(site, entry("new"), entry("chat", topics=["bugzilla.#"])))
    assert ran.returncode == 2
    assert "these webhooks exist already: chat; --replace updates them, and nothing was stored" in ran.stderr
    changed = entry("chat", topics=["bugzilla.#"], url="http://127.0.0.1:9/other", secret=OTHER)
    ran = site.ok("import", write(site, entry("new"), changed), "--replace")
    assert "2 hooks: 1 new, 1 updated" in ran.stderr
    publish_events(log_url(site.folder), push_event(2))
    hooks = {each["name"]: each for each in map(json.loads, site.ok("list", "--json").stdout.splitlines())}
    assert (hooks["chat"]["topics"], hooks["chat"]["waiting"]) == (["bugzilla.#"], 1)
    assert hooks["chat"]["url"].endswith("/other")
    assert hooks["new"]["waiting"] == 1
    assert hooks["bot"]["waiting"] == 2
    # The former one signs as well for a day.
    assert secrets(site, "chat") == [OTHER, SECRET]


def test_a_hook_from_a_list_begins_as_it_stood_and_the_command_prints_which_are_not_on(
    site: HookSite, tmp_path: Path
) -> None:
    alice, bob = "alice@example.org", "bob@example.org"
    states: dict[str, tuple[State, str]] = {
        "banned": (State.PAUSED, PAUSED_BY_ADMIN), "holiday": (State.PAUSED, PAUSED), "away": (State.PARKED, "no \x1b"),
        "ended": (State.OFF, "the receiver answered 410"), "works": (State.ON, ""),
    }  # fmt: skip
    site.configure('allow = ["127.0.0.1:9"]')
    for name, (state, reason) in states.items():
        site.ok("add", name, URL + name, "--topic", "#", "--owner", bob if name == "works" else alice)
        with HookStore(site.store) as store:
            store.set_standing(name, Standing(state=state, reason=reason, failing_since=7.0, delivered=3))
    lines = tmp_path / "hooks.jsonl"
    listed = site.ok("list", "--json").stdout
    lines.write_text(listed, encoding="utf-8")
    (tmp_path / "there").mkdir()
    there = HookSite(tmp_path / "there", 'allow = ["127.0.0.1:9"]')
    ran = there.ok("import", str(lines))
    for line in (
        "4 of these are not on, as in the file:", "paused, because an admin paused it: banned",
        "paused, because its owner paused it: holiday", "off, because the receiver answered 410: ended",
        "parked, because no \\x1b: away",
    ):  # fmt: skip
        assert f"INFO {line}\n" in ran.stderr
    with HookStore(there.store) as store:
        found = store.standings()
    assert {name: (each.state, each.reason) for name, each in found.items()} == {
        **states, "away": (State.PARKED, "no \\x1b"),
    }  # fmt: skip
    assert {(each.delivered, each.failing_since) for each in found.values()} == {(0, None)}
    # Of hooks that are there it changes no standing, in either direction.
    site.ok("resume", "banned")
    site.ok("pause", "works")
    assert "not on" not in site.ok("import", str(lines), "--replace").stderr
    after = {each["name"]: each["state"] for each in map(json.loads, site.ok("list", "--json").stdout.splitlines())}
    assert (after["banned"], after["works"], after["away"]) == ("working", "paused", "parked")


def test_a_pause_whose_reason_is_not_the_owners_is_an_admins(site: HookSite) -> None:
    ran = site.ok("import", write(site, entry("a", state="paused"), entry("b", state="paused", reason="x")))
    assert "2 of these are not on, as in the file:\n" in ran.stderr
    assert "paused, because an admin paused it: a, b\n" in ran.stderr
    with HookStore(site.store) as store:
        assert [each.is_paused_by_admin for each in store.standings().values()] == [True, True]


def test_one_wrong_entry_stores_nothing_and_is_named(site: HookSite) -> None:
    good = entry("good", secret=SECRET)
    for wrong, words in (
        (entry("Wrong Name"), "entry 2: a webhook is named with"),
        (entry("chat", url="http://10.0.0.1/"), "chat: the URL of a webhook begins with https"),
        (entry("chat", topics=[]), "entry 2: a webhook needs at least one topic"),
        (entry("chat", topics="#"), "topics in entry 2 must be a list of strings"),
        (entry("chat", owner=7), "owner in entry 2 must be a string"),
        (entry("chat", secret="hunter2"), "entry 2: the secret of a webhook "),
        (entry("chat", handshake="maybe"), "the handshake is one of off, try, require"),
        (entry("chat", topcs=["#"]), "unknown key 'topcs' in entry 2; did you mean 'topics'?"),
        (entry("chat", bearer_file="/none"), "chat: the file with the bearer token"),
        (
            entry("chat", state="asleep"),
            "entry 2: the state is one of not tried yet, working, failing, paused, parked, off, not 'asleep'",
        ),
        (entry("chat", state=7), "state in entry 2 must be a string"),
        (entry("good"), "entry 1 and entry 2 have the same name 'good'"),
        ("chat", "entry 2 must be an object"),
    ):
        ran = site.run("import", write(site, good, wrong))
        assert (ran.returncode, words in ran.stderr) == (2, True), ran.stderr
        assert "hunter2" not in ran.stderr
        assert SECRET not in ran.stderr
        assert ran.stdout == ""
    many = [entry(f"hook{number}") for number in range(6)]
    assert "hooks_max" in site.run("import", write(site, *many)).stderr
    owned = [entry(f"hook{number}", owner="alice@example.org") for number in range(3)]
    assert "owner_hooks_max" in site.run("import", write(site, *owned)).stderr
    assert site.run("import", write(site)).returncode == 2
    assert site.run("import", str(site.folder / "none")).returncode == 2
    assert site.ok("list").stdout == "no webhook\n"


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=6),
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_any_file_is_read_or_refused_by_name(raw: bytes) -> None:
    try:
        entries = read_entries(raw)
    except ConfigError:
        return
    assert entries
