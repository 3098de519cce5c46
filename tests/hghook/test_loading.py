# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""However Mercurial loads us, it gets one event, few of our modules, and none of the venv's other packages."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

import sourcepulse
from sourcepulse.relay.relay import relay_lock
from sourcepulse_hg.commands.setting_keys import KEYS
from support.brokers.embedded_log import wait_until
from support.hg.relayed import RelayedSite
from support.hg.sites import EXTENSION_FOLDER, SYSTEM_HG, Repository, Site

#: An extension that prints what is loaded when hg ends, by full name; a lazy module is not loaded yet.
_PRINT_MODULES = """
import atexit, sys, types
def report():
    names = sorted(n for n, m in sys.modules.items() if type(m) is types.ModuleType)
    open(FILE, "w").write("\\n".join(names) + "\\n---\\n" + "\\n".join(sys.path))
atexit.register(report)
"""
#: The same of the files that our modules are loaded from, each with the identity of its module.
_PRINT_FILES = """
import atexit, os, sys, types
# The clone itself may be called sourcepulse.
OURS = ("/shared/sourcepulse", "/hghook/sourcepulse_hg")
def report():
    lines = [
        f"{os.path.realpath(m.__dict__['__file__'])}\\t{m.__dict__['__name__']}"
        for m in sys.modules.values()
        if type(m) is types.ModuleType and any(each in (m.__dict__.get("__file__") or "") for each in OURS)
    ]
    open(FILE, "w").write("\\n".join(lines))
atexit.register(report)
"""
#: The files of ours in which a function was called.
_PRINT_ENTERED = """
import atexit, os, sys
OURS = ("/shared/sourcepulse", "/hghook/sourcepulse_hg")
entered = set()
def note(frame, event, argument):
    code = frame.f_code
    # Only functions: the bodies of modules and classes run when they are loaded.
    if event == "call" and code.co_flags & 1 and any(each in code.co_filename for each in OURS):
        entered.add(os.path.realpath(code.co_filename))
def report():
    sys.setprofile(None)
    open(FILE, "w").write("\\n".join(sorted(entered)))
atexit.register(report)
sys.setprofile(note)
"""
#: What a push of one changeset costs in imports and in places where a reader has to look.
MODULES_MAX = 30
#: The same where a relay collects.
RELAYED_MODULES_MAX = 24
FILES_ENTERED_MAX = 25


def _loaded(site: Site, server: Repository) -> tuple[set[str], list[str]]:
    """Push something and give the modules and the `sys.path` of the server's process at its end."""
    report = site.folder / "modules"
    extension = site.folder / "report.py"
    extension.write_text(_PRINT_MODULES.replace("FILE", repr(str(report))), encoding="utf-8")
    with (server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"\n[extensions]\nreport = {extension}\n")
    work = site.repository("loading")
    work.commit()
    work.push_ssh(server)
    names, _, path = report.read_text(encoding="utf-8").partition("\n---\n")
    return set(names.split("\n")), path.split("\n")


def test_the_path_form_loads_the_core_beside_it_and_leaves_the_search_path_alone(tmp_path: Path) -> None:
    for form, extension in enumerate([EXTENSION_FOLDER, EXTENSION_FOLDER / "__init__.py"]):
        site = Site(tmp_path / str(form), SYSTEM_HG)
        server = site.repository("server", f"[extensions]\nsourcepulse_hg = {extension}\n")
        modules, path = _loaded(site, server)
        assert len(server.events()) == 1
        assert {"sourcepulse", "sourcepulse.outbox", "sourcepulse_hg", "sourcepulse_hg.transaction.record"} <= modules
        # Mercurial's own name of an extension; what is loaded under both names is loaded twice.
        assert not [name for name in modules if name.startswith("hgext_sourcepulse_hg.")]
        assert not [entry for entry in path if "sourcepulse" in entry or ".venv" in entry]


def test_the_extension_works_in_a_folder_as_pip_installs_it(tmp_path: Path) -> None:
    packages = tmp_path / "site-packages"
    shutil.copytree(EXTENSION_FOLDER, packages / "sourcepulse_hg")
    shutil.copytree(Path(sourcepulse.__file__).parent, packages / "sourcepulse")
    # What would shadow Mercurial's own, were the folder on its path.
    (packages / "mercurial").mkdir()
    (packages / "mercurial" / "__init__.py").write_text("raise ImportError('shadowed')", encoding="utf-8")
    site = Site(tmp_path / "site", SYSTEM_HG)
    server = site.repository("server", f"[extensions]\nsourcepulse_hg = {packages}/sourcepulse_hg\n")
    work = site.repository("work")
    work.commit()
    work.push(server)
    assert len(server.events()) == 1


@pytest.mark.parametrize(
    "command",
    [("push",), ("sourcepulse-check",), ("sourcepulse-adopt",), ("sourcepulse-recover",), ("treestatus",)],
    ids=lambda command: command[0],
)
def test_the_path_form_loads_each_file_of_ours_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    site = Site(tmp_path, SYSTEM_HG)
    server = site.repository("server", f"[extensions]\nsourcepulse_hg = {EXTENSION_FOLDER}\n")
    report = tmp_path / "files"
    extension = tmp_path / "report.py"
    extension.write_text(_PRINT_FILES.replace("FILE", repr(str(report))), encoding="utf-8")
    with (server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"\n[extensions]\nreport = {extension}\n")
    if command == ("push",):
        work = site.repository("work")
        work.commit()
        work.push_ssh(server)
        assert len(server.events()) == 1
    else:
        server.hg(*command, check=False)
    loaded: dict[str, set[str]] = {}
    for line in report.read_text(encoding="utf-8").splitlines():
        path, name = line.split("\t")
        loaded.setdefault(path, set()).add(name)
    assert f"{EXTENSION_FOLDER}/commands/declarations.py" in loaded
    assert {path: names for path, names in loaded.items() if len(names) > 1} == {}
    # What is loaded under Mercurial's own name of an extension is loaded twice as soon as another module imports it.
    assert [name for names in loaded.values() for name in names if name.startswith("hgext_sourcepulse_hg.")] == []


def test_a_push_imports_no_broker_client(each_site: Site) -> None:
    server = each_site.server(keys=f"broker = file://{each_site.folder}/log.db\nrelay = off")
    modules, _ = _loaded(each_site, server)
    assert "sourcepulse_hg.pending.collect" in modules
    top = {name.partition(".")[0] for name in modules}
    assert not top & {"kombu", "amqp", "stomp", "vine", "billiard"}
    assert not [name for name in modules if name.startswith("sourcepulse.brokers")]


def test_a_push_of_one_changeset_loads_few_modules_of_ours_and_enters_few_files(each_site: Site) -> None:
    server = each_site.server(keys=f"broker = file://{each_site.folder}/log.db")
    work = each_site.repository("work")
    work.commit()
    work.push(server, "--config", "sourcepulse.relay=off")
    loaded, entered = each_site.folder / "loaded", each_site.folder / "entered"
    with relay_lock(server.outbox):
        for extension, report in ((_PRINT_FILES, loaded), (_PRINT_ENTERED, entered)):
            path = each_site.folder / "report.py"
            path.write_text(extension.replace("FILE", repr(str(report))), encoding="utf-8")
            work.commit()
            work.push(server, "--config", f"extensions.report={path}")
    assert len(server.events()) == 3
    # Mercurial's own name of an extension is a second name of the same module.
    modules = [line.split("\t")[0] for line in set(loaded.read_text(encoding="utf-8").splitlines())]
    with_code = sorted(path for path in modules if len(ast.parse(Path(path).read_text(encoding="utf-8")).body) > 1)
    assert len(with_code) <= MODULES_MAX, with_code
    files = entered.read_text(encoding="utf-8").splitlines()
    assert len(files) <= FILES_ENTERED_MAX, files
    assert "sourcepulse_hg/transaction/record.py" in "".join(files)


def test_where_a_relay_collects_a_push_loads_fewer_and_no_database(each_site: Site) -> None:
    relayed = RelayedSite(each_site)
    report, loaded = each_site.folder / "report.py", each_site.folder / "loaded"
    report.write_text(_PRINT_FILES.replace("FILE", repr(str(loaded))), encoding="utf-8")
    with (relayed.server.path / ".hg" / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"\n[extensions]\nreport = {report}\n")
    with relayed.relay():
        relayed.push()
        wait_until(relayed.are_collected)
    modules = [line.split("\t")[0] for line in set(loaded.read_text(encoding="utf-8").splitlines())]
    with_code = sorted(path for path in modules if len(ast.parse(Path(path).read_text(encoding="utf-8")).body) > 1)
    assert len(with_code) <= RELAYED_MODULES_MAX, with_code
    assert relayed.ways() == ["woke"]


def test_an_hg_that_adds_nothing_imports_nearly_nothing_of_ours(site: Site) -> None:
    server = site.server()
    report = site.folder / "modules"
    extension = site.folder / "report.py"
    extension.write_text(_PRINT_MODULES.replace("FILE", repr(str(report))), encoding="utf-8")
    server.hg("log", "--config", f"extensions.report={extension}")
    modules = set(report.read_text(encoding="utf-8").partition("\n---\n")[0].split("\n"))
    ours = {name for name in modules if name.startswith("sourcepulse")}
    assert ours <= {
        "sourcepulse_hg",
        "sourcepulse_hg.commands",
        "sourcepulse_hg.commands.declarations",
        "sourcepulse_hg.commands.setting_keys",
        "sourcepulse",
    }
    assert "sqlite3" not in modules


def test_the_readme_explains_every_key() -> None:
    text = (EXTENSION_FOLDER.parent / "README.md").read_text(encoding="utf-8")
    for key in KEYS:
        assert f"| `{key.decode()}` |" in text


def test_the_collector_needs_no_mercurial() -> None:
    """The relay may run where no Mercurial is."""
    allowed = {
        "pending",
        "pending.collect",
        "pending.first_copy",
        "pending.relayed",
        "changegroup_hook",
        "changegroup_hook.mark",
    }
    for name in allowed:
        path = EXTENSION_FOLDER / name.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for module in names:
                assert module.partition(".")[0] not in ("mercurial", "hgdemandimport")
                if module.startswith("sourcepulse_hg."):
                    assert module.removeprefix("sourcepulse_hg.") in allowed
