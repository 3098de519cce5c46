# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""docs/library.md names what is there: modules, types, exceptions, loggers; and its programs do what it says."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer, errors
from sourcepulse.catalogue import known_types, schema_for
from sourcepulse.typed import shape_name
from support.brokers.embedded_log import log_url, push_event
from support.fenced_blocks import ROOT, block

PAGE = "shared/docs/library.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """Return the cells of the rows of a part of the page."""
    part = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_type_is_in_the_module_that_the_page_names() -> None:
    modules = {
        word.removesuffix(".*"): import_module(module.strip("`"))
        for events, module, _ in rows("Types")
        for word in re.findall(r"`([^`]+)`", events)
    }
    for type_ in known_types():
        assert hasattr(modules[type_.partition(".")[0]], shape_name(type_)), type_
    examples = [re.findall(r"`([^`]+)`", cells[2]) for cells in rows("Types")]
    assert all(shape_name(type_) == name for type_, name in examples)


def test_what_the_page_imports_is_there() -> None:
    for name in re.findall(r"`(sourcepulse\.[a-z]+)[`.]", TEXT):
        import_module(name)
    catalogue = import_module("sourcepulse.catalogue")
    assert all(hasattr(catalogue, name) for name in ("known_types", "schema_for", "check", "example_of"))


def test_the_outcomes_are_those_of_the_schema() -> None:
    described = schema_for("common.v1")["$defs"]["outcome"]["description"]
    for word in re.findall(r"\w+", described.replace(" or ", " ")):
        assert f"`{word}`" in TEXT


def test_every_exception_of_the_page_exists_and_none_that_a_consumer_raises_is_missing() -> None:
    named = {name for cells in rows("Exceptions") for name in re.findall(r"`(\w+)`", cells[0])}
    assert all(issubclass(getattr(errors, name), errors.SourcePulseError) for name in named)
    documented = " ".join(
        part.__doc__ or "" for part in (Consumer.__init__, Consumer.open, Consumer.run, Consumer.replay)
    )
    assert set(re.findall(r"(\w+Error):", documented)) <= named | {"BrokerError"}


def test_the_loggers_of_the_page_are_those_of_the_library(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Consumer(log_url(tmp_path)):
        pass
    assert "sourcepulse.consumer" in {record.name for record in caplog.records}
    written = {
        name
        for path in (ROOT / "shared" / "sourcepulse" / "consumer").rglob("*.py")
        for name in re.findall(r"getLogger\((.*?)\)", path.read_text(encoding="utf-8"))
    }
    assert written == {'"sourcepulse.consumer"'}


def test_the_test_of_a_handler_passes() -> None:
    space: dict[str, Any] = {}
    exec(compile(block(f"{PAGE}: from sourcepulse import Event").text, PAGE, "exec"), space)
    space["test_a_push_without_a_login_is_somebodys"]()
    assert space["handle"](push_event(1)._replace(data={"user": "alice", "count": 2})) == "alice pushed 2"


def test_the_program_that_catches_errors_ends_with_a_sentence() -> None:
    program = block(f"{PAGE}: import sys").text
    program = re.sub(r'url = ".*"', 'url = "amqp://127.0.0.1:1/"', program).replace("timeout=60", "timeout=0.5")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("my-tool: the broker amqp://127.0.0.1:1/")
