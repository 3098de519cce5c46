# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pages are complete and lead somewhere: every command, argument and exit code, every link and anchor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import errors
from sourcepulse.cli.describe.command_tree import read_tree
from sourcepulse.cli.main import build_parser
from sourcepulse.config import KEYS
from sourcepulse_buildbot.settings import DEFAULTS
from support.fenced_blocks import PAGES, ROOT

#: Also what a reader of the repository finds, without blocks to run.
ALL_PAGES = (*PAGES, "CHANGELOG.md", "shared/README.md", "bugzilla_extension/PROTOCOL.md")
OPERATING = "shared/docs/operating.md"
#: What the first page leads to.
README_LINES_MAX = 120
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text(page), flags=re.M | re.S)


def anchors(page: str) -> set[str]:
    """Return the anchors that a forge makes of the headings of a page; a second equal one gets a number."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = found.get(anchor, 0)
        found[anchor] = number + 1
        made.add(f"{anchor}-{number}" if number else anchor)
    return made


def links(page: str) -> Iterator[tuple[Path, str]]:
    """Yield the path and the anchor of each link into this repository."""
    for target in LINK.findall(prose(page)):
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield ((ROOT / page).parent / path).resolve() if path else ROOT / page, anchor


@pytest.mark.parametrize("page", ALL_PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    broken = []
    for path, anchor in links(page):
        if not path.exists():
            broken.append(str(path))
        elif anchor and path.suffix == ".md" and anchor not in anchors(str(path.relative_to(ROOT))):
            broken.append(f"{path.relative_to(ROOT)}#{anchor}")
    assert broken == []


def test_every_page_of_the_docs_is_in_their_index() -> None:
    index = {path for path, _ in links("shared/docs/README.md")}
    folder = ROOT / "shared" / "docs"
    pages = set(folder.glob("*.md")) - {folder / "README.md"} | {folder / "catalogue" / "README.md"}
    assert pages - index == set()


def test_every_command_and_each_of_its_actions_is_on_the_page_on_operating() -> None:
    page = prose(OPERATING)
    missing = []
    for command in read_tree(build_parser()).commands:
        (row,) = [line for line in page.splitlines() if line.startswith("|") and named(command.words[-1], line)][
            :1
        ] or [""]
        if not row:
            missing.append(command.words)
        rows = "\n".join(line for line in page.splitlines() if line.startswith("|") and named(command.words[-1], line))
        missing += [action.words for action in command.commands if not re.search(rf"\b{action.words[-1]}\b", rows)]
    assert missing == []


def named(command: str, line: str) -> bool:
    return re.search(rf"`sourcepulse {re.escape(command)}\b(?!-)", line) is not None


def test_every_exit_code_is_on_the_page_on_operating() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    listed = prose(OPERATING).partition("Exit codes:")[2].partition("\n\n")[0]
    assert codes
    assert [code for code in codes if not re.search(rf"(?<!\d){code} \w", listed)] == []


def test_every_argument_of_the_reporter_is_in_its_table() -> None:
    table = prose("buildbot_status/README.md").partition("## Arguments")[2].partition("\n## ")[0]
    rows = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert [name for name in ("name", *DEFAULTS) if f"`{name}`" not in rows] == []


def test_every_parameter_of_the_bugzilla_extension_is_in_its_table() -> None:
    table = prose("bugzilla_extension/README.md").partition("## Parameters")[2].partition("\n## ")[0]
    names = re.findall(r"name *=> *'(sourcepulse_\w+)'", text("bugzilla_extension/SourcePulse/lib/Params.pm"))
    assert names
    assert [name for name in names if f"| `{name}` |" not in table] == []


def test_every_setting_is_in_the_example_that_the_page_on_operating_names() -> None:
    assert "(../deploy/config.toml.example)" in text(OPERATING)
    example = text("shared/deploy/config.toml.example")
    assert [key for key in KEYS if not re.search(rf"^(# )?{key} = ", example, re.MULTILINE)] == []


def test_the_readme_is_read_at_a_glance() -> None:
    assert len(text("README.md").splitlines()) <= README_LINES_MAX
