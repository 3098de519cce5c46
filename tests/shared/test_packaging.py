# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the package brings: entry points that load, schemas that ship, documentation that names every key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest

from sourcepulse.catalogue import known_types
from sourcepulse.config import KEYS

ROOT = Path(__file__).resolve().parents[2]


def test_every_entry_point_loads() -> None:
    points = [
        point
        for group in ("sourcepulse.collectors", "sourcepulse.commands", "sourcepulse.visibility")
        for point in entry_points(group=group)
    ]
    assert {point.name for point in points} == {
        "bugzilla",
        "bugzilla-path",
        "bugzilla-sidecar",
        "demo",
        "hg",
        "hg-path",
        "web",
        "webhook",
    }
    for point in points:
        assert point.load()


def test_the_four_roots_are_importable() -> None:
    program = "import sourcepulse, sourcepulse_hg, sourcepulse_buildbot, sourcepulse_bugzilla"
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")


def test_the_bugzilla_extension_is_where_the_command_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sourcepulse.cli", "bugzilla-path"], check=True, cwd="/", capture_output=True, text=True
    )
    folder = Path(done.stdout.strip())
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    shipped = {path.partition("SourcePulse/")[2] for path in wheel["force-include"] if "SourcePulse/" in path}
    # The tests of the extension stay at home.
    assert {path.name for path in folder.iterdir()} - {"t"} == shipped
    assert (folder / "bin" / "drain.pl").is_file()
    # Its README copies the unit from beside the folder.
    unit = "sourcepulse-bugzilla-sidecar.service"
    assert wheel["force-include"][f"shared/deploy/{unit}"] == f"sourcepulse_bugzilla/{unit}"


def test_the_shipped_files_are_where_the_command_says(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "sourcepulse.cli", "files"]
    listed = subprocess.run(run, check=True, cwd="/", capture_output=True, text=True).stdout.split()
    names = {Path(path).name for path in listed}
    assert {"activemq.xml", "rabbitmq-definitions.json", "sourcepulse-relay.service", "brokers.md", "trust.md"} <= names
    assert all(Path(path).is_file() for path in listed)
    one = subprocess.run([*run, "activemq.xml"], check=True, cwd="/", capture_output=True, text=True).stdout.strip()
    assert one in listed
    assert subprocess.run([*run, "nothing.such"], check=False, capture_output=True).returncode == 3


def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    return program


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        ("sourcepulse-relay.service", 2.5),
        ("sourcepulse-bugzilla-sidecar.service", 2.5),
        ("sourcepulse-web.service", 2.0),
    ],
)
def test_a_unit_is_little_exposed(unit: str, most: float, tmp_path: Path) -> None:
    shutil.copy(ROOT / "shared" / "deploy" / unit, tmp_path)
    check = [systemd_analyze(), "security", "--offline=true", f"--threshold={most * 10:.0f}", str(tmp_path / unit)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_systemd_accepts_every_line_of_the_units_and_finds_what_they_start_on_failure(tmp_path: Path) -> None:
    units = sorted((ROOT / "shared" / "deploy").glob("*.service"))
    for unit in units:
        # The program is not installed there on this machine.
        text = unit.read_text(encoding="utf-8").replace("/opt/sourcepulse/bin/sourcepulse", "/bin/echo")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
        for name in re.findall(r"^OnFailure=([^@]+@)", text, re.MULTILINE):
            assert f"{name}.service" in {each.name for each in units}
    verify = [systemd_analyze(), "verify", "--man=no", *(str(tmp_path / unit.name) for unit in units)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "sourcepulse" in line] == []


def test_the_core_imports_no_broker_client_and_no_plugin() -> None:
    program = (
        "import sys, sourcepulse.cli.main, sourcepulse.consumer.consumer\n"
        "import sourcepulse.relay.relay, sourcepulse.relay.collect\n"
        "import sourcepulse.brokers.file.subscription\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(found & {'kombu', 'amqp', 'stomp', 'mercurial', 'sourcepulse_hg', 'jsonschema'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd="/", capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["tail"], ["relay"], ["--version"]])
def test_what_needs_no_plugin_looks_for_none(words: list[str]) -> None:
    program = (
        "import sys\n"
        "from sourcepulse.cli.main import build_parser\n"
        f"build_parser({words})\n"
        "print(sorted({'importlib.metadata', 'sourcepulse_web', 'sourcepulse_hg'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, cwd="/", capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_schemas_ship_with_the_package() -> None:
    names = {path.name for path in files("sourcepulse").joinpath("schemas", "events").iterdir()}
    assert {f"{type_}.json" for type_ in known_types()} <= names


def test_the_example_configuration_has_every_key_with_its_default() -> None:
    text = (ROOT / "shared" / "deploy" / "config.toml.example").read_text()
    for name, key in KEYS.items():
        lines = [
            line.removeprefix("# ") for line in text.splitlines() if line.removeprefix("# ").startswith(f"{name} =")
        ]
        assert len(lines) >= 1, f"{name} is missing"
        if key.default is not None:
            assert tomllib.loads(lines[0]) == {name: key.default}


def test_every_queue_of_the_examples_may_be_made_with_the_shipped_definitions() -> None:
    definitions = json.loads((ROOT / "shared" / "deploy" / "rabbitmq-definitions.json").read_text())
    (allowed,) = [right["configure"] for right in definitions["permissions"] if right["user"] == "reader"]
    pages = [ROOT / "README.md", *(ROOT / "shared" / "docs").glob("*.md")]
    named = [name for page in pages for name in re.findall(r'queue="([^"]+)"|--durable (\S+) ', page.read_text())]
    queues = {first or second for first, second in named} - {"NAME"}
    assert queues
    assert [queue for queue in queues if not re.search(allowed, queue)] == []
