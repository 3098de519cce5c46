# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""In a real master the step stores every test of a report, and says clearly what is wrong with one."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sourcepulse_buildbot.test_reports.result_sets import Details, details_of
from support.buildbot.masters import Master, require_buildbot
from support.buildbot.report_master import CONFIG_HEAD, Published, publish

_SUCCESS, _WARNINGS, _FAILURE, _SKIPPED = 0, 1, 2, 3
_MANY = 6_500
#: A secret of the master that a test prints.
_SECRET = "hunter2-and-more"
_PYTEST = """
import pytest
def test_passes(): pass
def test_fails(): assert 1 == 2, "one is not two"
def test_breaks(no_such_fixture): pass
def test_is_skipped(): pytest.skip("not on Tuesdays")
"""
_TAP = "TAP version 13\n1..3\nok 1 - a\u2028b\x0cc\nnot ok 2 - b\n# got 1\nok 3 # skip no c\n"
_PRINT_SECRET = r"printf '1..1\nnot ok 1 - %(secret:password)s\n# %(secret:password)s\n' > secret.tap"
#: The builders, after the assignments that `_config` puts before them.
_BUILDERS = """
c["secretsProviders"] = [SecretInAFile(FOLDER + "/secrets")]
publishing("pytest", PYTEST, path="reports/one.xml", description="unit tests")
publishing("pattern", COPY, path="reports/**/*.xml", if_broken="success", fail_on_failures=True)
publishing("log", "cat %s/some.tap; echo 'ok 9 - no test' >&2" % FOLDER, format="tap", log=("tests", "stdio"))
publishing("packets", "cp %s ." % PACKETS, format="subunit", path=["unittest_packets.subunit"])
publishing("none", "true", path="no/*.xml")
publishing("no_file", "true", path="no.xml", if_missing="skipped")
publishing("no_step", "true", log=("other", "stdio"), if_missing="warnings")
publishing("no_log", "true", log=("tests", "stdin"))
publishing("no_value", "true", path=util.Property("not_set"))
publishing("large", COPY, path="many.xml", max_bytes=1000)
publishing("just_fits", COPY, path="reports/a.xml", max_bytes=SIZE)
publishing("many", COPY, path="many.xml", if_broken="warnings")
publishing("secret", ["sh", "-c", util.Interpolate(PRINT_SECRET)], format="tap", path="secret.tap")
"""


def _config(folder: Path) -> str:
    report = ["--junitxml=reports/one.xml", f"--rootdir={folder}"]
    assignments = {
        "FOLDER": str(folder),
        "COPY": f"cp -r {folder}/reports {folder}/many.xml .",
        "PACKETS": str(Path(__file__).parent / "reports" / "unittest_packets.subunit"),
        "PYTEST": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *report, f"{folder}/test_some.py"],
        "SIZE": (folder / "reports" / "a.xml").stat().st_size,
        "PRINT_SECRET": _PRINT_SECRET,
    }
    lines = "".join(f"{name} = {value!r}\n" for name, value in assignments.items())
    return CONFIG_HEAD + lines + _BUILDERS


def _folder(folder: Path) -> Path:
    """A folder with reports, tests and a secret."""
    (folder / "reports" / "deep").mkdir(parents=True)
    (folder / "test_some.py").write_text(_PYTEST)
    (folder / "some.tap").write_text(_TAP, encoding="utf-8")
    (folder / "reports" / "a.xml").write_text('<testsuite><testcase name="a" time="3"/></testsuite>')
    (folder / "reports" / "b.xml").write_text('<testsuite><testcase name="b"/><testcase name="c">')
    (folder / "reports" / "deep" / "c.xml").write_text('<testsuite><testcase name="d"><error/></testcase></testsuite>')
    many = "".join(
        f'<testcase classname="m" name="t{number}" file="m.py" line="{number}" time="0.5">'
        + (f'<failure message="no {number}"/>' if number % 2 else "")
        + "</testcase>"
        for number in range(_MANY)
    )
    (folder / "many.xml").write_text(f"<testsuite>{many}</testsuite>")
    # Buildbot wants secrets in a folder of their own, and unreadable for others.
    (folder / "secrets").mkdir()
    secret = folder / "secrets" / "password"
    secret.touch(0o600)
    secret.write_text(_SECRET)
    return folder


@pytest.fixture(scope="module")
def master(master_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """A started master with a builder for each test; the builds run at the same time."""
    require_buildbot()
    base = tmp_path_factory.mktemp("reports")
    folder = _folder(base / "given")
    master = Master(master_template, base / "master", _config(folder), workers=4)
    try:
        master.start()
        yield master
    finally:
        master.close()


@pytest.fixture(scope="module")
def published(master: Master) -> Mapping[str, Published]:
    """What became of the build of each builder."""
    return publish(master, *re.findall(r'^publishing\("(\w+)"', _BUILDERS, re.MULTILINE))


def test_a_run_of_pytest_becomes_test_results(published: Mapping[str, Published]) -> None:
    build = published["pytest"]
    assert build.state_string == "4 tests, 2 failed, 1 skipped"
    # The step that ran the tests has failed; this one did what it had to.
    assert build.results == _SUCCESS
    assert build.problems == []
    ran, failed, skipped = (build.sets[name] for name in ("pass_fail", "failure", "skipped"))
    assert (ran.description, ran.value_unit, ran.passed, ran.failed) == ("unit tests", "boolean", 1, 2)
    assert ran.values == [
        ("test_some.test_passes", "1"),
        ("test_some.test_fails", "0"),
        ("test_some.test_breaks", "0"),
    ]
    assert [type(row["duration_ns"]) for row in ran.results] == [int] * 3
    assert all(each.is_complete for each in build.sets.values())
    assert [name for name, _ in skipped.values] == ["test_some.test_is_skipped"]
    assert "not on Tuesdays" in skipped.results[0]["value"]
    fails, breaks = details_of(ran.results, failed.results).values()
    assert fails.outcome == "failure"
    assert "AssertionError: one is not two" in str(fails.message)
    assert breaks.outcome == "exception"
    assert "fixture 'no_such_fixture' not found" in str(breaks.message)
    assert build.counted == {"tests-total": 4, "tests-passed": 1, "tests-failed": 2, "tests-skipped": 1}


def test_all_files_of_a_pattern_are_read_and_a_broken_one_is_named(published: Mapping[str, Published]) -> None:
    build = published["pattern"]
    ran = build.sets["pass_fail"]
    assert ran.description == "test report"
    assert ran.values == [("a", "1"), ("b", "1"), ("d", "0")]
    assert ran.results[0]["duration_ns"] == 3_000_000_000
    assert (build.state_string, build.results) == ("3 tests, 1 failed, report broken", _FAILURE)
    assert build.sets["failure"].values == [("d", "exception")]
    (problem,) = build.problems
    assert re.search(r"/reports/b\.xml: the XML breaks off in line 1: no element found$", problem)


def test_tap_is_read_from_the_output_of_an_earlier_step(published: Mapping[str, Published]) -> None:
    build = published["log"]
    ran, failed = build.sets["pass_fail"], build.sets["failure"]
    # A line of a log ends with a line feed and nowhere else.
    assert ran.values == [("a\u2028b\ufffdc", "1"), ("b", "0")]
    assert list(details_of(ran.results, failed.results).values()) == [Details("failure", "got 1")]
    assert build.sets["skipped"].values == [("test 3", "no c")]
    assert (build.results, build.problems) == (_SUCCESS, [])


def test_binary_packets_arrive_unharmed(published: Mapping[str, Published]) -> None:
    build = published["packets"]
    assert (build.state_string, build.problems) == ("7 tests, 4 failed, 2 skipped", [])
    assert "odd \xfc\n]\nodd" in build.sets["failure"].results[1]["value"]


@pytest.mark.parametrize(
    ("builder", "results", "words"),
    [
        ("none", _FAILURE, "nothing matches no/*.xml"),
        ("no_file", _SKIPPED, "no.xml cannot be read"),
        ("no_step", _WARNINGS, "there is no step other before this one; there is worker_preparation, tests"),
        ("no_log", _FAILURE, "there is no log stdin of step tests; there is stdio"),
        ("no_value", _FAILURE, "path became nothing, not a text or a list of texts"),
    ],
)
def test_without_a_report_the_step_says_so_and_stores_nothing(
    published: Mapping[str, Published], builder: str, results: int, words: str
) -> None:
    build = published[builder]
    assert (build.results, build.state_string) == (results, words)
    assert (build.sets, build.counted, build.problems) == ({}, {}, [words])


def test_a_report_that_is_too_large_is_read_up_to_the_limit_and_said_to_be_cut(
    published: Mapping[str, Published],
) -> None:
    build = published["large"]
    assert build.results == _FAILURE
    assert build.problems[0] == "many.xml is cut, the reports are larger than 1000 bytes"
    names = [name for name, _ in build.sets["pass_fail"].values]
    assert names == [f"m.t{number}" for number in range(len(names))]
    assert 5 < len(names) < 20


def test_a_report_of_just_the_limit_is_whole(published: Mapping[str, Published]) -> None:
    build = published["just_fits"]
    assert (build.state_string, build.results, build.problems) == ("1 test", _SUCCESS, [])


def test_more_tests_than_buildbot_writes_at_once_all_arrive_in_order(published: Mapping[str, Published]) -> None:
    build = published["many"]
    ran, failed = build.sets["pass_fail"], build.sets["failure"]
    assert ran.values == [(f"m.t{number}", str(1 - number % 2)) for number in range(_MANY)]
    assert [(row["test_code_path"], row["line"]) for row in ran.results] == [("m.py", n) for n in range(_MANY)]
    details = details_of(ran.results, failed.results)
    assert [each.message for each in details.values()] == [f"no {number}" for number in range(1, _MANY, 2)]
    assert (build.results, build.problems) == (_SUCCESS, [])


def test_secrets_that_a_test_prints_are_not_stored(master: Master, published: Mapping[str, Published]) -> None:
    build = published["secret"]
    assert build.sets["failure"].values == [("<password>", "failure\n<password>")]
    assert build.sets["pass_fail"].values == [("<password>", "0")]
    assert not master.query("SELECT 1 FROM test_names WHERE name LIKE ?", f"%{_SECRET}%")


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"format": "xml", "path": "a"}, "format must be one of junit, subunit, tap, not 'xml'"),
        ({}, "give either path or log"),
        ({"path": "a", "log": ("b", "stdio")}, "give either path or log"),
        ({"path": []}, "path must be a text or a list of texts, not []"),
        ({"path": 3}, "path must be a text or a list of texts, not 3"),
        ({"log": "tests"}, "log must be the name of a step and of its log, not 'tests'"),
        ({"path": "a", "if_missing": "shrug"}, "if_missing must be one of failure, skipped, success, warnings"),
        ({"path": "a", "if_broken": None}, "if_broken must be one of failure, skipped, success, warnings"),
        ({"path": "a", "max_bytes": 0}, "max_bytes must be a number of bytes above 0, not 0"),
        ({"path": "a", "colour": "red"}, "got unexpected keyword argument(s) ['colour']"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(arguments: dict[str, Any], mistake: str) -> None:
    require_buildbot()
    errors = importlib.import_module("buildbot.config").ConfigErrors
    step = importlib.import_module("sourcepulse_buildbot.test_reports.step").PublishTestReport
    with pytest.raises(errors) as caught:
        step(**arguments)
    assert mistake in str(caught.value.errors)


def test_paths_and_logs_may_be_rendered() -> None:
    require_buildbot()
    interpolate = importlib.import_module("buildbot.process.properties").Interpolate
    step = importlib.import_module("sourcepulse_buildbot.test_reports.step").PublishTestReport
    step(path=interpolate("%(prop:reports)s/*.xml"))
    step(path=["a", interpolate("%(prop:reports)s")])
    step(log=(interpolate("%(prop:tests)s"), "stdio"), format="tap")
