# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The reporter comes, changes, goes and returns by reconfig, while builds run; each fact is published exactly once."""

from __future__ import annotations

from pathlib import Path

from support.buildbot.masters import REPORTER, MakeMaster
from support.buildbot.oracle import assert_exact
from support.events.outbox_contents import stored_events

BUILDERS = 'builder("b", "sleep 0.7", "echo one")\nbuilder("c", "echo two")\n'
STEPS_ONLY = REPORTER.replace('"outbox.db"', '"outbox.db", detail="steps"')


def test_a_reporter_that_changes_while_builds_run_loses_nothing(make_master: MakeMaster) -> None:
    master = make_master(REPORTER + BUILDERS)
    master.start()
    # There and back: Buildbot itself would forget the way back.
    for number, config in enumerate((STEPS_ONLY, REPORTER, REPORTER)):
        asked = master.request("b", revision=str(number))
        master.wait_for_events(number + 1, "build.started")
        master.configure(config + BUILDERS)
        master.do("reconfig")
        master.wait_for(lambda: master.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", asked["bsid"]))  # noqa: B023
    master.build("c", revision="last")
    # The last of what is published of a request.
    master.wait_for_events(4, "build.buildset.completed")
    logs = master.events("build.log.finished")
    assert {event.data["buildername"] for event in logs} == {"b", "c"}
    # While logs were not wanted, those that ended then were not published.
    assert_exact(master, late=True, without=("build.log.finished.v1",))
    assert "Traceback" not in master.log()


def test_what_was_built_while_the_reporter_was_away_is_published_when_it_is_back(make_master: MakeMaster) -> None:
    master = make_master(REPORTER + BUILDERS)
    master.start()
    master.build("c")
    master.configure(BUILDERS)
    master.do("reconfig")
    before = len(master.events())
    master.build("c", revision="away")
    assert len(master.events()) == before
    master.configure(REPORTER + BUILDERS)
    master.do("reconfig")
    master.build("c", revision="back")
    master.wait_for_events(3, "build.finished")
    master.stop()
    assert_exact(master, late=True)
    assert [event.data["recovered"] for event in master.events("build.finished")] == [False, True, False]
    # That it stopped and that the worker was gone was not published.
    assert [event.type for event in master.events("build.master")] == [
        "build.master.started.v1",
        "build.master.stopped.v1",
    ]


def test_a_broken_change_leaves_the_reporter_as_it_was(make_master: MakeMaster) -> None:
    master = make_master(REPORTER + BUILDERS)
    master.start()
    master.configure(REPORTER.replace('"outbox.db"', '"outbox.db", detail="everything"') + BUILDERS)
    master.do("reconfig")
    assert "detail must be one of builds, steps, logs" in master.log()
    master.build("c")
    master.wait_for_events(1, "build.buildset.completed")
    assert_exact(master)


def test_reporters_with_one_outbox_or_two_store_each_fact_once_in_each_outbox(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    other = REPORTER.replace('name="ci"', 'name="second", source_name="ci"').replace(
        "outbox.db", f"{tmp_path}/other.db"
    )
    third = REPORTER.replace('name="ci"', 'name="third", source_name="ci"')
    master = make_master(REPORTER + other + third + BUILDERS)
    master.start()
    master.build("c")
    master.wait_for_events(1, "build.buildset.completed")
    master.stop()
    assert_exact(master)
    assert_exact(master, stored_events(tmp_path / "other.db"))


def test_the_broker_may_come_from_a_secret_and_is_in_no_log(make_master: MakeMaster, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    secret = tmp_path / "secrets" / "pulse"
    secret.write_text(f"file://{tmp_path}/l0g-of-secret-place.db", encoding="utf-8")
    secret.chmod(0o600)
    provider = "from buildbot.plugins import secrets\n"
    provider += f'c["secretsProviders"] = [secrets.SecretInAFile(dirname="{tmp_path}/secrets")]\n'
    reporter = REPORTER.replace('"outbox.db"', '"outbox.db", broker=util.Secret("pulse")')
    master = make_master(provider + reporter + BUILDERS)
    master.start()
    master.build("c")
    master.wait_for((tmp_path / "l0g-of-secret-place.db").exists)
    master.stop()
    assert "l0g-of-secret-place" not in master.log()
