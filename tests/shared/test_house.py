# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The house keeps its rules: what may import what, no circles, folders that can be taken in, and plain words.

CONTRIBUTING.md explains them; a rule that is added there is added here.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().relative_to(ROOT).as_posix()
PACKAGES = {
    "sourcepulse": "shared",
    "sourcepulse_web": "shared",
    "sourcepulse_hg": "hghook",
    "sourcepulse_buildbot": "buildbot_status",
    "sourcepulse_bugzilla": "bugzilla_extension",
}
#: A folder of the core, or a module beside the folders -> what of the core it may import.
CORE = {
    "errors": set(),
    "events": {"errors"},
    "catalogue": {"errors", "events"},
    "wake": set(),
    "outbox": {"errors", "events", "wake"},
    "brokers": {"errors", "events", "outbox", "wake"},
    "gaps": {"errors", "events"},
    "config": {"brokers", "errors", "events"},
    "relay": {"brokers", "config", "errors", "events", "outbox", "wake"},
    "consumer": {"brokers", "catalogue", "errors", "events", "gaps", "outbox"},
    "typed": {"catalogue", "consumer", "errors", "events"},
    "mozillapulse": {"brokers", "consumer", "errors", "events"},
    "testing": {"brokers", "events"},
    "publisher": {"catalogue", "errors", "events", "outbox"},
    "operations": {"brokers", "catalogue", "config", "consumer", "errors", "events", "outbox", "relay", "wake"},
    "cli": {
        "brokers",
        "catalogue",
        "config",
        "consumer",
        "errors",
        "events",
        "operations",
        "outbox",
        "publisher",
        "relay",
    },
}
FOLDER_ENTRIES_MAX = 14
#: Also the modules that a program imports by name.
ROOT_ENTRIES_MAX = 17
FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 45
#: Package data, generated types, and Perl, where Bugzilla wants its modules side by side.
LONG_FOLDERS = {"schemas", "events", "typed", "lib", "t"}
FORBIDDEN_WORDS = re.compile(r"\b(told|untold|whoever|anew|nobody(?= [a-z]))\b", re.IGNORECASE)
FORBIDDEN_BEGINNINGS = {"Give", "Tell", "Say", "Have", "Let", "Take"}


def _modules() -> dict[str, Path]:
    found = {}
    for package, root in PACKAGES.items():
        for path in (ROOT / root / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _imported(name: str, *, at_import: bool) -> Iterator[str]:
    """Yield which modules of ours a module imports: when it is imported itself, or at any time."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in _imports_of(tree.body) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in PACKAGES:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def _imports_of(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)):
            yield from _imports_of([*node.body, *node.orelse])


def _room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_no_imports_run_in_a_circle() -> None:
    graph: Mapping[str, set[str]] = {name: set(_imported(name, at_import=True)) - {name} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_each_folder_of_the_core_imports_only_what_it_may() -> None:
    broken = [
        (name, imported)
        for name in MODULES
        if name.startswith("sourcepulse.")
        for imported in _imported(name, at_import=True)
        if _room(imported) not in CORE[_room(name)] | {_room(name), ""}
    ]
    assert broken == []


def test_the_core_imports_no_source_and_no_source_another() -> None:
    broken = [
        (name, imported)
        for name in MODULES
        for imported in _imported(name, at_import=False)
        if imported.partition(".")[0] not in ("sourcepulse", name.partition(".")[0])
    ]
    assert broken == []


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    folders = {path.parent for path in MODULES.values()}
    crowded = {}
    for folder in folders:
        entries = [each for each in folder.iterdir() if each.name not in ("__pycache__", "schemas", "py.typed")]
        most = ROOT_ENTRIES_MAX if folder.name == "sourcepulse" else FOLDER_ENTRIES_MAX
        if len(entries) > most and folder.name not in LONG_FOLDERS - {"events"}:
            crowded[str(folder.relative_to(ROOT))] = len(entries)
    assert crowded == {}


def test_code_tests_and_pages_use_plain_words() -> None:
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "*.py",
            "*.pm",
            "*.pl",
            "*.t",
            "*.tmpl",
            "*.md",
            "*.toml",
            "*.service",
            "*.example",
            "*.js",
            "*.css",
            "*.html",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in listed
        if name != HERE and (ROOT / name).exists()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN_WORDS.search(line)
    ]
    assert found == []


def test_docstrings_begin_with_what_is_done() -> None:
    found = []
    tests = {str(path.relative_to(ROOT)): path for path in (ROOT / "tests").rglob("*.py")}
    for name, path in (MODULES | tests).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                docstring = ast.get_docstring(node) or ""
                if docstring.partition(" ")[0] in FORBIDDEN_BEGINNINGS:
                    found.append(f"{name}: {docstring.splitlines()[0]}")
    assert found == []


def test_files_and_functions_stay_short() -> None:
    found = []
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > FILE_LINES_MAX:
            found.append(f"{name}: {len(text.splitlines())} lines")
        found += [
            f"{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.end_lineno is not None
            and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
        ]
    web = ROOT / "shared/sourcepulse_web"
    pages = [path for kind in ("js", "css", "html") for path in web.rglob(f"*.{kind}")]
    for path in sorted([*(ROOT / "bugzilla_extension/SourcePulse").glob("*/*.p[ml]"), *pages]):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES_MAX:
            found.append(f"{path.name}: {lines} lines")
    assert found == []
