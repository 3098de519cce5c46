# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a real master with builds of every kind publishes: each event by its schema, none with a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.tests import test_identity as identity_of
from support.buildbot.masters import Master
from support.buildbot.oracle import assert_exact

SECRETS = ("hunter2", "s3cret-of-a-file", "t0ken-in-a-url", "p4ss-in-a-property")
ODD_NAME = "linux64 opt/é.*#,%"
LONG_NAME = "b" * 300
HUGE_BYTES = 1_000_000

CONFIG = """
from buildbot.plugins import secrets
c["secretsProviders"] = [secrets.SecretInAFile(dirname=r"{secrets}")]
c["services"].append(reporters.PulseStatusPush(
    name="ci", outbox="outbox.db", log_tail_bytes=300, test_cases=["failed", "flaky", "skipped"],
    properties=["owner", "platform", "token", "leak", "huge", "strange", "got_revision"],
    normalized={{"platform": ["missing", "platform"], "revision": "got_revision"}}))

from twisted.internet import defer
class Once(steps.BuildStep):
    def run(self):
        first = not Once.ran
        Once.ran = True
        return defer.succeed(util.RETRY if first else util.SUCCESS)
Once.ran = False

builder({odd!r},
    steps.SetProperty(property="leak", value=util.Interpolate("x-%(secret:token)s-y")),
    steps.SetProperty(property="got_revision", value="abc123"),
    "echo %s" % ("out " * 10),
    properties={{"platform": "linux", "token": "p4ss-in-a-property", "strange": {{"a": [1, None, "https://u:hunter2@h/"]}}}},
    tags=["nightly"])
builder({long!r}, "echo long", builddir="long")
builder("failing", r"printf 'one\\000two\\377\\n'; echo last; exit 3")
builder("retried", Once())
builder("skipped", "echo never", do_build_if=lambda _: False)
builder("triggering", steps.Trigger(schedulerNames=["sub"], waitForFinish=True, set_properties={{"owner": "bob"}}))
builder("triggered", "echo here")
builder("huge", "echo here", properties={{"huge": "h" * {huge}}})
builder("tests", "printf '1..3\\nok 1 - a\\nnot ok 2 - b\\nok 3 - c # SKIP why\\n' > report.tap",
    steps.PublishTestReport(format="tap", path="report.tap", description="unit"))
def report(name, text, **arguments):
    builder(name, steps.ShellCommand(command=["sh", "-c", 'printf %s "$0" > report.xml', text]),
        steps.SetProperty(property="got_revision", value={{"": "def456", "other": "777"}}),
        steps.PublishTestReport(path="report.xml", description="unit", **arguments))
report("promised", '<testsuite tests="9"><testcase name="a"/></testsuite>')
report("forgiven", '<testsuite tests="9"><testcase name="a"/></testsuite>', if_broken="success")
report("nothing", '<testsuite tests="0"/>')
report("repeated",
    '<testsuite><testcase name="a"><flakyFailure message="once"/></testcase><testcase name="b"/></testsuite>')
report("replaced", '<testsuite><testcase name="a"><system-out>&#27;</system-out></testcase></testsuite>')
class Linked(steps.BuildStep):
    async def _run(self):
        await self.addURL("page", "https://u:hunter2@h/p?token=t0ken-in-a-url&x=1")
        return util.SUCCESS
    def run(self):
        return defer.ensureDeferred(self._run())
builder("linked", Linked())
COUNTS = "Failed 1/2 test scripts, 50.00% okay. 3/10 subtests failed, 70.00% okay."
builder("counted", steps.PerlModuleTest(command=["echo", COUNTS]))
builder("never", "echo never", workernames=["w1"])
c["schedulers"].append(schedulers.Triggerable(name="sub", builderNames=["triggered"]))
"""
BUILT = (ODD_NAME, LONG_NAME, "failing", "retried", "skipped", "triggering", "huge", "tests", "linked", "counted")
REPORTED = ("promised", "forgiven", "nothing", "repeated", "replaced")


class Story:
    """A master that has done everything, and what it published."""

    def __init__(self, master: Master) -> None:
        self.master = master
        self.events = master.events()

    def of(self, type_: str, buildername: str | None = None) -> list[Event]:
        """Return the events of a type, of one builder or all."""
        return [
            event
            for event in self.events
            if event.type == f"{type_}.v1" and buildername in (None, event.data.get("buildername"))
        ]

    def one(self, type_: str, buildername: str | None = None) -> Event:
        """Return the only one."""
        (event,) = self.of(type_, buildername)
        return event


@pytest.fixture(scope="module")
def story(master_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "token").write_text("s3cret-of-a-file", encoding="utf-8")
    (folder / "secrets" / "token").chmod(0o600)
    config = CONFIG.format(secrets=folder / "secrets", odd=ODD_NAME, long=LONG_NAME, huge=HUGE_BYTES)
    master = Master(master_template, folder / "master", config, workers=2)
    try:
        master.start()
        ((w1,),) = master.query("SELECT id FROM workers WHERE name = 'w1'")
        master.do("pause", workerid=w1)
        never = master.request("never")
        master.do(
            "change",
            author="alice <a@example.org>",
            project="core",
            repository="https://u:hunter2@h/a b/c",
            files=["x"],
            comments="see https://h/?api_key=t0ken-in-a-url",
            branch="default",
            revision="1" * 40,
            when_timestamp=1_700_000_000,
        )
        master.build(
            *BUILT,
            *REPORTED,
            properties={"owner": "alice"},
            reason="because of https://u:hunter2@h/",
            repository="https://u:hunter2@h/r?x=1",
            branch="default",
            revision="2" * 40,
        )
        master.do("cancel", buildrequestid=never["requests"]["never"])
        master.wait_for(lambda: master.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", never["bsid"]))
        master.do("pause", workerid=w1, action="unpause")
        master.wait_for_events(1, "build.worker.unpaused")
        master.stop()
        yield Story(master)
    finally:
        master.close()


def test_every_fact_of_the_database_is_published_once(story: Story) -> None:
    assert_exact(story.master)
    assert not any(event.data["recovered"] for event in story.events)


def test_no_secret_is_in_any_event(story: Story) -> None:
    content = story.master.outbox.read_bytes()
    assert {file.stat().st_mode & 0o777 for file in story.master.folder.glob("outbox.db*")} == {0o600}
    for event in story.events:
        content += repr(event).encode()
    for secret in SECRETS:
        assert secret.encode() not in content


def test_a_build_is_published_with_what_only_the_running_build_knows(story: Story) -> None:
    started, finished = story.one("build.started", ODD_NAME), story.one("build.finished", ODD_NAME)
    assert finished.subject == f"builder/{ODD_NAME}/builds/1"
    assert finished.routing_key == "build.finished.success.linux64_20opt_2F_C3_A9_2E_2A_23_2C_25"
    data = finished.data
    assert (data["outcome"], data["results"], data["workername"]) == ("success", 0, "w0")
    assert (data["owners"], data["reason"]) == (["alice"], "because of https://h/")
    assert data["sourcestamps"] == [
        {"codebase": "", "repository": "https://h/r?x=1", "project": "", "branch": "default", "revision": "2" * 40}
    ]
    assert data["properties"] == {
        "got_revision": "abc123",
        "leak": "x-<redacted>-y",
        "owner": "alice",
        "platform": "linux",
        "strange": {"a": [1, None, "https://h/"]},
        "token": "<redacted>",
    }
    assert data["normalized"] == {
        "tree": "unknown",
        "product": "unknown",
        "platform": "linux",
        "buildtype": "unknown",
        "revision": "abc123",
    }
    assert data["url"] == f"https://ci.example.org/#/builders/{data['builderid']}/builds/1"
    assert "got_revision" not in started.data["properties"]
    same = set(data) - {"complete_at", "state_string", "results", "outcome", "locks_duration_s"}
    later = {"properties", "normalized", "revision"}
    assert {name: started.data[name] for name in same - later} == {name: data[name] for name in same - later}
    assert (started.data["revision"], data["revision"]) == ("2" * 40, "abc123")


def test_steps_and_logs_come_in_their_order_and_the_tail_of_a_failed_one_with_it(story: Story) -> None:
    published = [
        (event.type.removesuffix(".v1"), event.data.get("name"))
        for event in story.events
        if event.data.get("buildername") == "failing" and not event.type.startswith("build.request")
    ]
    assert published == [
        ("build.started", None),
        ("build.step.started", "worker_preparation"),
        ("build.step.finished", "worker_preparation"),
        ("build.step.started", "shell"),
        ("build.log.finished", "shell"),
        ("build.step.finished", "shell"),
        ("build.finished", None),
    ]
    log = story.one("build.log.finished", "failing").data
    assert (log["slug"], log["type"]) == ("stdio", "s")
    assert log["url"].endswith("/builds/1/steps/1/logs/stdio")
    assert "\x00two\ufffd\nlast\n" in log["tail"]
    assert len(log["tail"].encode()) <= 300
    assert story.one("build.log.finished", LONG_NAME).data["tail"] is None


def test_a_test_run_is_published_with_its_failed_and_skipped_cases(story: Story) -> None:
    cases = [
        (event.type, event.data["test_name"], event.data["outcome"])
        for event in story.events
        if event.type.startswith("test.case") and event.data["buildername"] == "tests"
    ]
    assert cases == [
        ("test.case.failed.v1", "b", "failure"),
        ("test.case.skipped.v1", "c", "skipped"),
    ]
    (skipped,) = story.of("test.case.skipped", "tests")
    assert skipped.data["message"] == "why"
    run = story.one("test.run.finished", "tests")
    assert run.routing_key == "test.run.finished.failure.tests"
    names = ("description", "tests_total", "tests_passed", "tests_failed", "tests_skipped", "outcome", "cases")
    assert [run.data[name] for name in names] == ["unit", 3, 1, 1, 1, "failure", 2]


@pytest.mark.parametrize(
    ("builder", "step", "outcome", "incomplete"),
    [
        ("promised", "failure", "failure", True),
        ("forgiven", "success", "unknown", True),
        ("nothing", "skipped", "skipped", False),
        ("repeated", "success", "success", False),
        ("replaced", "success", "success", False),
    ],
)
def test_a_run_is_a_success_only_if_its_report_is_whole_and_something_passed(
    story: Story, builder: str, step: str, outcome: str, incomplete: bool
) -> None:
    run = story.one("test.run.finished", builder)
    assert (run.data["outcome"], run.data["incomplete"]) == (outcome, incomplete)
    assert run.routing_key == f"test.run.finished.{outcome}.{builder}"
    assert bool(run.data["problems"]) == incomplete
    *_, published = story.of("build.step.finished", builder)
    assert (published.data["name"], published.data["outcome"]) == ("test report", step)


def test_a_run_says_why_it_is_incomplete_and_what_was_replaced(story: Story) -> None:
    assert story.one("test.run.finished", "promised").data["problems"] == ["9 tests are counted, 1 are there"]
    assert story.one("test.run.finished", "replaced").data["notes"] == ["replaced 1 character that XML forbids"]


def test_a_test_that_passed_after_it_failed_is_published_with_its_attempts(story: Story) -> None:
    case = story.one("test.case.passed", "repeated")
    assert [case.data[name] for name in ("test_name", "attempts", "flaky", "message")] == ["a", 2, True, "once"]
    assert story.one("test.run.finished", "repeated").data["tests_flaky"] == 1


def test_a_test_has_a_suite_a_revision_and_an_identity_of_its_own(story: Story) -> None:
    case, run = story.one("test.case.passed", "repeated"), story.one("test.run.finished", "repeated")
    assert (case.data["description"], case.data["step_name"]) == ("unit", "test report")
    assert (case.data["revision"], run.data["revision"]) == ("def456", "def456")
    (failed,) = story.of("test.case.failed", "tests")
    # The same suite and name are the same test, whatever the builder.
    assert failed.data["testid"] == identity_of("unit", "b", None)
    assert case.data["testid"] == identity_of("unit", "a", None) != identity_of("other", "a", None)


def test_a_step_that_only_counts_its_tests_has_a_test_run_too(story: Story) -> None:
    run = story.one("test.run.finished", "counted")
    assert run.data["test_result_setid"] is None
    assert (run.data["tests_total"], run.data["tests_failed"]) == (10, 3)


def test_a_retried_build_is_published_twice_and_its_request_once(story: Story) -> None:
    assert [event.data["outcome"] for event in story.of("build.finished", "retried")] == ["retry", "success"]
    second = story.of("build.started", "retried")[1].data
    completed = story.one("build.request.completed", "retried").data
    assert (completed["buildid"], completed["outcome"]) == (second["buildid"], "success")


def test_a_skipped_build_starts_and_ends_at_once(story: Story) -> None:
    (started, finished) = (
        event for event in story.events if event.subject == "builder/skipped/builds/1" and "step" not in event.type
    )
    assert story.events.index(started) < story.events.index(finished)
    assert finished.data["outcome"] == "skipped"


def test_a_triggered_build_names_its_parent(story: Story) -> None:
    parent, child = story.one("build.started", "triggering").data, story.one("build.started", "triggered").data
    assert child["parent_buildid"] == parent["buildid"]
    assert (child["scheduler"], child["owners"]) == ("sub", ["bob"])
    assert story.one("build.request.submitted", "triggered").data["scheduler"] == "sub"


def test_a_cancelled_request_was_never_built(story: Story) -> None:
    completed = story.one("build.request.completed", "never")
    assert (completed.data["outcome"], completed.data["buildid"]) == ("cancelled", None)
    assert completed.routing_key == "build.request.completed.cancelled.never"


def test_a_change_is_published_under_the_path_of_its_repository(story: Story) -> None:
    change = story.one("change.added")
    assert change.routing_key == "change.added.core.a_20b.c"
    assert change.data["repository"] == "https://h/a b/c"
    assert change.data["comments"] == "see https://h/?api_key=<redacted>"
    assert (change.data["when_timestamp"], change.time) == ("2023-11-14T22:13:20.000000Z",) * 2


def test_links_of_steps_are_published_without_credentials(story: Story) -> None:
    (step,) = (event for event in story.of("build.step.finished", "linked") if event.data["urls"])
    assert step.data["urls"] == [{"name": "page", "url": "https://h/p?token=<redacted>&x=1"}]


def test_what_is_too_large_is_cut_and_listed_as_truncated(story: Story) -> None:
    event = story.one("build.finished", "huge")
    (cut,) = event.data["truncated"]
    assert cut["field"] == "/properties/huge"
    assert cut["total"] == HUGE_BYTES
    assert len(event.data["properties"]["huge"]) == cut["kept"] < HUGE_BYTES
    assert len(story.one("build.finished", LONG_NAME).routing_key) <= 255


def test_events_of_workers_and_of_the_master_are_published(story: Story) -> None:
    published = [
        (event.type.split(".", 1)[1], event.subject)
        for event in story.events
        if event.type.startswith(("build.worker", "build.master"))
    ]
    assert sorted(published[:3]) == [
        ("master.started.v1", published[2][1]),
        ("worker.connected.v1", "worker/w0"),
        ("worker.connected.v1", "worker/w1"),
    ]
    assert published[3:] == [
        ("worker.paused.v1", "worker/w1"),
        ("worker.unpaused.v1", "worker/w1"),
        ("master.stopped.v1", published[2][1]),
    ]
    assert story.one("build.worker.paused").data["pause_reason"] == "a break"
    assert str(story.master.folder) not in repr([event.data for event in story.events])
