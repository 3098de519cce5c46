# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What one real master publishes while a secret is missing and a reconfig removes builders: values, not the form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sourcepulse import Consumer
from sourcepulse.events.event import Event
from support.buildbot.masters import Master

SECRET = "s3cret-of-a-late-step"
REVISIONS = {"c0": "a" * 40, "c1": "b" * 40}
#: `{removed}` is whether the builders that a reconfig removes are gone.
CONFIG = """
import os
from buildbot.secrets.providers.base import SecretProviderBase
from twisted.internet import defer, task
class Files(SecretProviderBase):
    name = "files"
    def get(self, entry):
        path = os.path.join({folder!r}, entry)
        return open(path, "rb" if entry == "bytes" else "r").read() if os.path.exists(path) else None
c["secretsProviders"] = [Files()]
c["workers"].append(worker.LocalWorker("free"))
c["services"] += [
    reporters.PulseStatusPush(
        name="ci", outbox="outbox.db", broker=util.Interpolate("%(secret:pulse)s"), log_tail_bytes=400,
        properties=["leak"], normalized={{"revision": ["missing", "got_revision"]}}),
    reporters.PulseStatusPush(name="narrow", outbox="narrow.db", builders=["both", "goes_on", "never"]),
]
class WaitFor(steps.BuildStep):
    def run(self):
        return defer.ensureDeferred(self._run())
    async def _run(self):
        while not os.path.exists(os.path.join({folder!r}, "go")):
            await task.deferLater(self.master.reactor, 0.05)
        return util.SUCCESS
class Uses(steps.BuildStep):
    renderables = ["what"]
    def __init__(self, what):
        super().__init__()
        self.what = what
    def run(self):
        return defer.succeed(util.SUCCESS)
def built(name, **revisions):
    builder(name, steps.SetProperty(property="got_revision", value=revisions), "echo one; echo two; exit 3")
built("both", **{revisions!r})
built("second", c1={revisions!r}["c1"])
built("none")
builder("idle", "echo", workernames=["w1"])
builder("bytes", Uses(util.Secret("bytes")), workernames=["free"])
if not {removed}:
    builder("killed", "sleep 60", workernames=["free"])
    builder("goes_on", WaitFor(), steps.SetProperty(property="leak", value=util.Interpolate("x-%(secret:late)s")))
"""


class Story(NamedTuple):
    """What was published, and what the master wrote to its log at the start, at the reconfig and in all."""

    events: list[Event]
    relayed: list[Event]
    collapsed: list[int]
    log_of_start: str
    log_of_reconfig: str
    log: str

    def of(self, type_: str, buildername: str) -> list[Event]:
        """Return the events of a type and a builder."""
        return [
            event
            for event in self.events
            if event.type == f"{type_}.v1" and event.data.get("buildername") == buildername
        ]

    def data(self, type_: str, buildername: str) -> dict[str, Any]:
        """Return the data of the only one."""
        (event,) = self.of(type_, buildername)
        return dict(event.data)


def _stamps() -> list[dict[str, Any]]:
    one = {"project": "p", "branch": None, "revision": "asked"}
    return [one | {"codebase": name, "repository": f"https://h/{name}"} for name in reversed(REVISIONS)]


@pytest.fixture(scope="module")
def story(master_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    base = tmp_path_factory.mktemp("values")
    folder = base / "secrets"
    folder.mkdir()
    (folder / "late").write_text(SECRET, encoding="utf-8")
    (folder / "bytes").write_bytes(b"a secret of \xff bytes")

    def config(*, removed: bool) -> str:
        return CONFIG.format(folder=str(folder), revisions=REVISIONS, removed=removed)

    master = Master(master_template, base / "master", config(removed=False), workers=2)
    try:
        yield _play(master, folder, config(removed=True))
    finally:
        master.close()


def _play(master: Master, folder: Path, without_builders: str) -> Story:
    master.start()
    log_of_start = master.log()
    ((w1,),) = master.query("SELECT id FROM workers WHERE name = 'w1'")
    master.do("pause", workerid=w1)
    idle = [master.request("idle") for _ in range(3)]
    running = ("killed", "goes_on")
    master.request(*running)
    master.build("both", "second", "none", sourcestamps=_stamps())
    master.build("bytes")
    master.wait_for(lambda: len([1 for event in master.events("build.step.started") if _is_of(event, running)]) == 4)

    master.configure(without_builders)
    url = f"file://{folder}/log.db"
    (folder / "pulse").write_text(url, encoding="utf-8")
    before = len(master.log())
    master.do("reconfig")
    log_of_reconfig = master.log()[before:]
    with Consumer(url, "build.finished.#", timeout=30) as consumer:
        (folder / "go").touch()
        relayed = consumer.receive(30)
    master.do("pause", workerid=w1, action="unpause")
    master.wait_for(lambda: master.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", idle[-1]["bsid"]))
    master.wait_for(lambda: [event for event in master.events("build.finished") if _is_of(event, ("goes_on",))])
    master.stop()
    return Story(
        master.events(),
        [relayed] if relayed else [],
        [one["requests"]["idle"] for one in idle],
        log_of_start,
        log_of_reconfig,
        master.log(),
    )


def _is_of(event: Event, builders: tuple[str, ...]) -> bool:
    return event.data["buildername"] in builders


def test_with_codebases_the_normalized_revision_is_that_of_the_first_that_has_one(story: Story) -> None:
    for builder, built in (("both", REVISIONS["c0"]), ("second", REVISIONS["c1"]), ("none", None)):
        started, finished = story.data("build.started", builder), story.data("build.finished", builder)
        assert [stamp["codebase"] for stamp in finished["sourcestamps"]] == ["c0", "c1"]
        assert finished["revision"] == (built or "asked")
        assert (started["revision"], started["normalized"]["revision"]) == ("asked", "unknown")
        assert finished["normalized"]["revision"] == (built or "asked"), builder


def test_a_request_names_the_one_that_it_went_into(story: Story) -> None:
    first, second, third = story.collapsed
    completed = {event.data["buildrequestid"]: event.data for event in story.of("build.request.completed", "idle")}
    published = {number: (data["outcome"], data["collapsed_into"]) for number, data in completed.items()}
    assert published == {first: ("skipped", second), second: ("skipped", third), third: ("success", None)}
    assert completed[third]["buildid"] == story.data("build.started", "idle")["buildid"]
    assert completed[first]["buildid"] is None


def test_the_tail_of_a_log_is_what_the_program_wrote_and_its_raw_url_is_that_of_the_log(story: Story) -> None:
    log = story.data("build.log.finished", "both")
    # Buildbot's own lines, such as the command and its exit code, are not in it.
    assert log["tail"] == "one\ntwo\n"
    assert log["num_lines"] > len(log["tail"].splitlines())
    assert log["raw_url"] == f"https://ci.example.org/api/v2/logs/{log['logid']}/raw"


def test_a_worker_says_how_many_builds_it_may_have_at_a_time(story: Story) -> None:
    slots = {
        event.data["name"]: event.data["max_builds"]
        for event in story.events
        if event.type == "build.worker.connected.v1"
    }
    assert slots == {"w0": 4, "w1": 4, "free": None}


def test_a_build_whose_builder_is_removed_has_an_end_and_keeps_its_secrets(story: Story) -> None:
    # Buildbot lets the steps in the master go on, and kills the command of a worker: such a build ends with the master.
    for builder, outcomes in (("goes_on", ("success", "exception")), ("killed", ("retry",))):
        published = [event.type for event in story.events if event.data.get("buildername") == builder]
        assert published[:2] == ["build.request.submitted.v1", "build.started.v1"]
        assert published[-1] == "build.finished.v1"
        assert story.data("build.finished", builder)["outcome"] in outcomes
        assert len(story.of("build.step.started", builder)) == len(story.of("build.step.finished", builder))
    finished = story.data("build.finished", "goes_on")
    # Buildbot 3.11 has no secrets for a build without a builder.
    assert finished["outcome"] == "exception" or finished["properties"] == {"leak": "x-<redacted>"}
    assert SECRET not in repr(story.events)


def test_a_secret_of_bytes_holds_up_no_event(story: Story) -> None:
    # Buildbot 4 itself can do nothing with it.
    assert story.data("build.finished", "bytes")["recovered"] is False
    assert "could not be processed" not in story.log


def test_a_broker_whose_secret_is_missing_is_reported_and_found_at_a_reconfig(story: Story) -> None:
    sentence = (
        "ci: broker: secret key pulse is not found in any provider; add it to a provider of c['secretsProviders']"
    )
    assert story.log_of_start.count(sentence) == 1
    # Nothing is lost: what was stored before is relayed first.
    assert [event.type for event in story.relayed] == ["build.finished.v1"]
    assert story.relayed[0].data["buildername"] in ("both", "second", "none", "bytes", "goes_on")


def test_names_that_nothing_has_any_more_are_reported_at_a_reconfig_of_something_else(story: Story) -> None:
    assert "narrow: builders contains 'never'" in story.log_of_start
    assert "builders contains 'goes_on'" not in story.log_of_start
    for name in ("never", "goes_on"):
        assert f"narrow: builders contains '{name}', which is not in master.cfg" in story.log_of_reconfig
    assert "contains 'both'" not in story.log_of_start + story.log_of_reconfig
