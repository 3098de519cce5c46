# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is wanted of a master is decided once for each story, under all names of a builder, and kept to its end."""

from __future__ import annotations

import threading

import pytest

from sourcepulse.events.event import Event
from sourcepulse_buildbot.live.name_watch import NameWatch
from support.buildbot.masters import MakeMaster, Master
from support.events.outbox_contents import stored_events

REPORTERS = """
for name, wanted in {wanted!r}.items():
    c["services"].append(reporters.PulseStatusPush(name=name, outbox=name + ".db", **wanted))
"""
VIRTUAL = """
builder("full.b", "echo", tags=["t1"], description="all of b",
    properties={{"virtual_builder_name": "virt1", "virtual_builder_tags": ["virt"]}})
builder("other", "echo", tags=["t2"])
"""
WANTED = {
    "real_tag": {"tags": ["t1"]},
    "virtual_tag": {"tags": ["virt"]},
    "real_name": {"builders": ["full.b"]},
    "virtual_name": {"builders": ["virt1"]},
}
STORY = [
    "build.request.submitted.v1",
    "build.started.v1",
    "build.step.started.v1",
    "build.finished.v1",
    "build.request.completed.v1",
]


def _build_events(master: Master, name: str) -> list[Event]:
    return [event for event in stored_events(master.folder / f"{name}.db") if event.type.startswith("build.")]


def _kinds(events: list[Event]) -> list[str]:
    """The types of a story without repeats."""
    return list(dict.fromkeys(event.type for event in events if event.type in STORY))


def test_a_builder_is_known_under_its_own_name_and_its_virtual_one(make_master: MakeMaster) -> None:
    master = make_master(REPORTERS.format(wanted=WANTED) + VIRTUAL.format())
    master.start()
    master.build("full.b", "other")
    master.stop()
    for name in WANTED:
        found = _build_events(master, name)
        assert _kinds(found) == STORY, name
        builders = {event.data["buildername"] for event in found if "buildername" in event.data}
        assert builders == {"full.b", "virt1"}, name
        (started,) = [event for event in found if event.type == "build.started.v1"]
        assert (started.data["buildername"], started.data["real_buildername"]) == ("virt1", "full.b")
        assert (started.data["tags"], started.data["description"]) == (["virt"], "all of b")


MID_BUILD = """
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="ci.db", tags=["nightly"]))
builder({name!r}, "n=0; while [ ! -e {go} ] && [ $n -lt 900 ]; do sleep 0.1; n=$((n + 1)); done", tags={tags!r})
builder("idle", "echo")
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_build_is_published_to_its_end_even_if_the_configuration_changes_meanwhile(
    make_master: MakeMaster, is_killed: bool
) -> None:
    master = make_master("")
    go = master.folder / "go"
    master.configure(MID_BUILD.format(name="slow", go=go, tags=["nightly"]))
    master.start()
    asked = master.request("slow")
    master.wait_for(lambda: any(event.type == "build.step.started.v1" for event in _build_events(master, "ci")))
    if is_killed:
        master.kill()
        master.configure(MID_BUILD.format(name="renamed", go=go, tags=["nightly"]))
        master.start()
    else:
        master.configure(MID_BUILD.format(name="slow", go=go, tags=["other"]))
        master.do("reconfig")
        go.touch()
        master.wait_for(lambda: master.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", asked["bsid"]))
    master.stop()
    finished = [event.data["outcome"] for event in _build_events(master, "ci") if event.type == "build.finished.v1"]
    assert finished == ["retry" if is_killed else "success"]
    completed = [event for event in _build_events(master, "ci") if event.type == "build.request.completed.v1"]
    # The request of a builder that is not there any more waits for ever.
    assert len(completed) == (0 if is_killed else 1)


WIDER = """
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="ci.db", detail={detail!r}))
builder("quick", "echo")
"""


def test_more_detail_adds_nothing_to_builds_that_are_over(make_master: MakeMaster) -> None:
    master = make_master(WIDER.format(detail="builds"))
    master.start()
    master.build("quick")
    master.configure(WIDER.format(detail="logs"))
    master.do("reconfig")
    master.build("quick")
    master.stop()
    found = _build_events(master, "ci")
    of_first = [event.type for event in found if event.subject == "builder/quick/builds/1"]
    assert of_first == ["build.started.v1", "build.finished.v1"]
    assert "build.log.finished.v1" in {event.type for event in found if event.subject == "builder/quick/builds/2"}


UNKNOWN = """
c["services"].append(reporters.PulseStatusPush(
    name="ci", outbox="ci.db", builders=["one", "gone"], tags=["t", "no-such-tag"], schedulers=["all", "nobody"]))
builder("one", "echo", tags=["t"])
"""


def test_names_that_nothing_has_are_said_in_the_log(make_master: MakeMaster) -> None:
    master = make_master(UNKNOWN)
    master.start()
    master.stop()
    log = master.log()
    for words in ("builders contains 'gone'", "tags contains 'no-such-tag'", "schedulers contains 'nobody'"):
        assert words in log
    assert "contains 'one'" not in log
    assert "contains 't'" not in log
    assert "contains 'all'" not in log


def test_one_outbox_for_two_places_is_a_mistake(make_master: MakeMaster) -> None:
    config = "".join(
        f'c["services"].append(reporters.PulseStatusPush(name="ci{number}", outbox="{outbox}", exchange="e{number}"))\n'
        for number, outbox in enumerate(["same.db", "./same.db"])
    )
    master = make_master(config + 'builder("one", "echo")\n')
    with pytest.raises(AssertionError):
        master.start()
    assert "which sends to a different place; give each reporter its own outbox" in master.log()


COMMON_WORD = """
from buildbot.plugins import secrets
c["secretsProviders"] = [secrets.SecretInAFile(dirname=r"{secrets}")]
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="ci.db", log_tail_bytes=500))
COMMAND = util.Interpolate("echo %(secret:used)s %(secret:outcome)s; exit 1")
builder("builder", steps.ShellCommand(command=["sh", "-c", COMMAND]))
"""


def test_only_secrets_that_a_build_used_are_redacted_and_our_own_words_never(make_master: MakeMaster) -> None:
    master = make_master("")
    folder = master.folder / "secrets"
    folder.mkdir(mode=0o700)
    for name, value in (("unused", "success"), ("used", "builder"), ("outcome", "failure")):
        (folder / name).touch(0o600)
        (folder / name).write_text(value)
    master.configure(COMMON_WORD.format(secrets=folder))
    master.start()
    master.build("builder", reason="a success or a failure story")
    master.stop()
    found = {(event.type, event.data.get("name")): event for event in _build_events(master, "ci")}
    finished = found["build.finished.v1", None]
    # The builder has the name of a secret that was used; the rest is ours, or only held by the provider.
    assert finished.subject == "builder/<redacted>/builds/1"
    assert finished.routing_key == "build.finished.failure._3Credacted_3E"
    assert finished.data["url"] == "https://ci.example.org/#/builders/1/builds/1"
    assert finished.data["reason"] == "a success or a <redacted> story"
    assert (finished.data["buildername"], finished.data["outcome"]) == ("<redacted>", "failure")
    assert found["build.step.finished.v1", "worker_preparation"].data["outcome"] == "success"
    assert found["build.step.finished.v1", "shell"].routing_key == finished.routing_key.replace("build.", "build.step.")
    # Buildbot redacts its logs itself.
    assert found["build.log.finished.v1", "shell"].data["tail"] == "<used> <outcome>\n"


def test_a_name_server_that_never_answers_is_reported_once() -> None:
    hang, said = threading.Event(), threading.Event()
    sentences: list[str] = []

    def log(sentence: str) -> None:
        sentences.append(sentence)
        said.set()

    watch = NameWatch(["broker.example.org"], warn=log, resolve=lambda _: hang.wait(30), answer_s=0.05)
    watch.start()
    assert said.wait(30)
    watch.stop()
    hang.set()
    (sentence,) = sentences
    assert sentence.startswith("no name server has answered for broker.example.org, the host of the broker")
