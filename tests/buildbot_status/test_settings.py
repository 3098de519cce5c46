# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The arguments of the reporter: every mistake is named, in one sentence that says what to do."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sourcepulse_buildbot.settings import Broker, read_settings
from support.buildbot.masters import require_buildbot

GOOD: dict[str, Any] = {"name": "ci", "outbox": "outbox.db"}
CHECK_LIMIT_SECONDS = 60

CONFIG = """
from buildbot.plugins import reporters, steps, util, worker, schedulers
c = BuildmasterConfig = {{"buildbotNetUsageData": None, "protocols": {{"null": {{}}}}}}
c["workers"] = [worker.LocalWorker("w")]
c["builders"] = [util.BuilderConfig(name="b", workernames=["w"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b"])]
c["services"] = [reporters.PulseStatusPush({arguments})]
"""


def mistakes(**arguments: Any) -> list[str]:
    said: list[str] = []
    read_settings(said.append, **{"name": None, **arguments})
    return said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"outbox": None}, "outbox= is missing"),
        ({"name": None}, "name= is missing"),
        ({"name": "a b"}, "write name='a-b' instead of name='a b': one word of letters, digits, '.', '_' and '-' for"),
        ({"name": "/"}, "write name='ci' instead of name='/': one word"),
        ({"name": "\u00fc" + "a" * 101}, f"write name='{'a' * 100}' instead of"),
        ({"source_name": "a b"}, "write source_name='a-b' instead of source_name='a b': one word"),
        ({"max_test_cases": -1}, "max_test_cases must be a whole number from 0 to"),
        ({"master": "a/b"}, "one word that no other master"),
        ({"broker": "amqp//host"}, "broker: the broker URL"),
        ({"broker": 5}, "broker must be a URL such as amqp://host, or a secret, not int"),
        ({"exchange": "amq.topic"}, "exchange: 'amq.topic' is not a valid exchange name"),
        ({"exchange": None}, "exchange: '' is not a valid exchange name"),
        ({"relay": "yes"}, "relay must be one of thread, none, not 'yes'"),
        ({"relay": "process"}, "relay='process' is no longer there: leave relay= out"),
        ({"format": "xml"}, "format must be one of cloudevents, pulse"),
        ({"detail": "all"}, "detail must be one of builds, steps, logs"),
        ({"builders": "linux"}, "builders must be a list of names, not 'linux'"),
        ({"builders": [1]}, "builders must be a list of names, and 1 is not a name"),
        ({"tags": []}, "tags is empty, so nothing would be published"),
        ({"events": ["build"]}, "events has the unknown word 'build'; known are changes, requests"),
        ({"test_cases": ["fails"]}, "test_cases has the unknown word 'fails'"),
        ({"properties": ["*"]}, "a pattern could one day match a secret"),
        ({"normalized": {"os": "platform"}}, "normalized has the unknown name 'os'; known are tree, product"),
        ({"normalized": "platform"}, "normalized must be a dictionary"),
        ({"normalized": {"tree": 5}}, "normalized['tree'] must be a list of names"),
        ({"log_tail_bytes": -1}, "log_tail_bytes must be a whole number from 0 to 65536, not -1"),
        ({"log_tail_bytes": True}, "log_tail_bytes must be a whole number"),
        ({"heartbeat_s": -1}, "heartbeat_s must be a whole number from 0 to 86400, not -1"),
        ({"max_event_bytes": 10}, "max_event_bytes must be a whole number from 16384 to 262144, not 10"),
        ({"metrics_file": "x.txt"}, "metrics_file in PulseStatusPush must end in .prom"),
        ({"metrics_file": 5}, "metrics_file in PulseStatusPush must be a non-empty string"),
        ({"topics": 1}, "PulseStatusPush has no argument 'topics'; known are broker, builders,"),
    ],
)
def test_a_mistake_is_named(arguments: dict[str, Any], words: str) -> None:
    (said,) = mistakes(**{**GOOD, **arguments})
    assert words in said


def test_a_password_is_in_no_mistake() -> None:
    (said,) = mistakes(**GOOD, broker="amqp://u:s3cret@host:port/")
    assert "s3cret" not in said


def test_what_is_right_is_taken_as_it_is_meant() -> None:
    said: list[str] = []
    settings = read_settings(
        said.append,
        **GOOD,
        master="m1",
        builders=["a", "b"],
        normalized={"platform": ["z", "a"], "tree": "branch"},
        events={"builds"},
    )
    assert said == []
    assert (settings.source, settings.scope) == ("buildbot://ci/m1", "buildbot://ci")
    assert settings.normalized == {"platform": ("z", "a"), "tree": ("branch",)}
    assert settings.selection.builders == {"a", "b"}


def checkconfig(folder: Path, arguments: str, *, cwd: Path | None = None) -> tuple[int, str]:
    """Return what the program said of a reporter with these arguments, and its exit code; it runs in the folder."""
    require_buildbot()
    config = folder / "master.cfg"
    config.write_text(CONFIG.format(arguments=arguments), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-c", "from buildbot.scripts.runner import run; run()", "checkconfig", config],
        cwd=cwd or folder,
        capture_output=True,
        text=True,
        timeout=CHECK_LIMIT_SECONDS,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


def test_checkconfig_names_all_mistakes_at_once(tmp_path: Path) -> None:
    code, said = checkconfig(tmp_path, "broker='x', detail='all', colour='red'")
    assert code == 1
    for words in (
        "PulseStatusPush has no argument 'colour'",
        "PulseStatusPush: outbox= is missing",
        "PulseStatusPush: broker: ",
        "PulseStatusPush: name= is missing",
        "PulseStatusPush: detail must be one of",
    ):
        assert words in said
    assert not list(tmp_path.glob("*.db*"))


def test_checkconfig_shows_that_the_folder_of_the_outbox_is_missing(tmp_path: Path) -> None:
    code, said = checkconfig(tmp_path, "name='ci', outbox='no/such/outbox.db'")
    assert code == 0
    assert "the folder of the outbox 'no/such/outbox.db' does not exist; create it" in said
    assert "does not exist; create it" in checkconfig(tmp_path, "name='ci', outbox='/no/such/outbox.db'")[1]


def test_checkconfig_works_from_a_folder_that_is_no_masters_or_is_closed(tmp_path: Path) -> None:
    """As `runuser -u buildbot` in the folder of root: what is relative to the master is not known there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, said = checkconfig(tmp_path, "name='ci', outbox='no/such/outbox.db'", cwd=elsewhere)
    assert (code, "does not exist" in said) == (0, False)
    program = (
        "import os; from sourcepulse_buildbot.master_check import no_folder_here; "
        "os.rmdir(os.getcwd()); assert no_folder_here('outbox.db') is None"
    )
    subprocess.run([sys.executable, "-c", program], cwd=elsewhere, check=True, timeout=CHECK_LIMIT_SECONDS)


def test_checkconfig_says_what_to_write_for_a_name_of_two_words(tmp_path: Path) -> None:
    code, said = checkconfig(tmp_path, "name='my ci', outbox='outbox.db'")
    assert code == 1
    assert said.splitlines()[1].strip() == (
        "PulseStatusPush: write name='my-ci' instead of name='my ci': one word of letters, digits, '.', '_' and '-' "
        "for this Buildbot; its events have the source buildbot://my-ci"
    )


def test_two_readings_of_master_cfg_have_equal_brokers_only_if_they_have_the_same_and_none_shows_it() -> None:
    require_buildbot()
    from buildbot.plugins import util

    def read() -> list[Broker]:
        return [
            Broker(value)
            for value in (
                None,
                "amqp://a",
                "amqp://b",
                util.Interpolate("amqp://a"),
                util.Interpolate("amqp://%(kw:host)s", host="a"),
                util.Interpolate("amqp://%(kw:host)s", host=util.Secret("a")),
                util.Interpolate("amqp://%s", util.Secret("a")),
                util.Interpolate("amqp://%s", util.Secret("b")),
                util.Interpolate("amqp://") + util.Secret("a"),
                util.Interpolate("amqp://") + util.Secret("b"),
                util.Secret("a"),
                util.Secret("b"),
                util.WithProperties("amqp://a"),
                util.WithProperties("amqp://b"),
            )
        ]

    assert read() == read()
    assert len(set(read())) == len(read())
    assert not any(one == other for one, other in itertools.combinations(read(), 2))
    assert not any("amqp" in repr(each) for each in read())
