# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the README of the Bugzilla extension promises is held by the tests it names, and its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sourcepulse.catalogue import known_types
from sourcepulse_bugzilla.lifecycle.session import SILENT
from sourcepulse_bugzilla.visibility.folder_of_site import TWO_FOLDERS

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "bugzilla_extension"
README = (EXTENSION / "README.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return README.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _rows(title: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in _section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _promises() -> list[tuple[str, str, str]]:
    return [
        (promise, *re.fullmatch(r"`([\w.]+)`: (.+)", holder.strip()).groups())  # type: ignore[union-attr]
        for promise, holders in _rows("What is never published")
        for holder in holders.split(";")
    ]


@pytest.mark.parametrize(("promise", "file", "name"), _promises())
def test_a_test_holds_what_is_never_published(promise: str, file: str, name: str) -> None:
    if file.endswith(".t"):
        text = (EXTENSION / "SourcePulse" / "t" / file).read_text(encoding="utf-8")
        assert f"subtest '{name}' => sub" in text, promise
    else:
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert f"\ndef {name}(" in text, promise


def test_every_type_is_listed() -> None:
    listed = {
        f"bugzilla.{prefix}.{word}.v1"
        for prefixes, words in _rows("What is published")
        for prefix in re.findall(r"`bugzilla\.(\w+)\.`", prefixes)
        for word in re.findall(r"`(\w+)`", words)
    }
    assert listed == {type_ for type_ in known_types() if type_.startswith("bugzilla.")}


def test_every_parameter_is_listed() -> None:
    source = (EXTENSION / "SourcePulse" / "lib" / "Params.pm").read_text(encoding="utf-8")
    names = set(re.findall(r"name\s*=>\s*'(sourcepulse_\w+)'", source))
    assert {row[0].strip("`") for row in _rows("Parameters")} == names
    page = EXTENSION / "SourcePulse" / "template" / "en" / "default" / "admin" / "params" / "sourcepulse.html.tmpl"
    assert set(re.findall(r"^  (sourcepulse_\w+) =>", page.read_text(encoding="utf-8"), re.M)) == names


def test_every_problem_has_a_row_that_says_what_to_do() -> None:
    health = (EXTENSION / "SourcePulse" / "lib" / "Health.pm").read_text(encoding="utf-8")
    shown = set(re.findall(r"'(overdue|silent)'", health)) | set(re.search(r"qw\((buried missed)\)", health)[1].split())  # type: ignore[index]
    seen = " ".join(row[0] for row in _rows("When something is wrong"))
    for name in (SILENT, TWO_FOLDERS, *shown):
        assert f"`{name}`" in seen


def test_the_sentences_it_quotes_are_those_that_are_printed() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("SourcePulse/lib/*.pm", "sourcepulse_bugzilla/**/*.py")
        for path in sorted(EXTENSION.glob(pattern))
    )
    said = " ".join(re.sub(r'"\s*\n\s*f?"', "", code).split())
    for row in _rows("When something is wrong"):
        for sentence in re.findall(r"`((?:another|the) [^`]+)`", row[0]):
            assert sentence in said
    (conflict,) = re.findall(r"```text\n(OLD and NEW .*?)```", README, re.S)
    shape = " ".join(conflict.split())
    for part in (
        "are the same Bugzilla",
        "nothing of it is published until you choose: end the sidecar of the other folder, and run",
    ):
        assert part in shape
        assert part in said
