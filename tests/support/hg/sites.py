# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Real Mercurial processes for the tests: repositories, pushes over ssh, HTTP and file, and what they leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from sourcepulse.events.event import Event
from support.component import require as require_component
from support.events.outbox_contents import outbox_events
from support.hg.command_server import command_servers, is_local
from support.hg.forked_hg import FORK_SERVER, fork_servers

ROOT = Path(__file__).resolve().parents[3]
EXTENSION_FOLDER = ROOT / "hghook" / "sourcepulse_hg"
HG_LIMIT_SECONDS = 60
#: The type that most tests are about.
PUSH = "hg.push.v1"

DUMMY_SSH = Path(__file__).with_name("dummyssh.py")


@dataclass(frozen=True)
class Program:
    """An hg and the line that enables the extension in it."""

    name: str
    path: Path
    extension: str


#: The one in the venv imports the extension by name, Debian's loads it by path.
VENV_HG = Program("venv", Path(sys.executable).parent / "hg", "")
SYSTEM_HG = Program("system", Path("/usr/bin/hg"), str(EXTENSION_FOLDER))


def require(program: Program) -> Program:
    """Skip the test if this hg is not installed; with CI set, fail it."""
    require_component(program.path.exists(), f"no Mercurial at {program.path}; on Debian: apt-get install mercurial")
    return program


def _checked(
    result: subprocess.CompletedProcess[bytes], arguments: tuple[str | bytes | Path, ...], check: bool
) -> subprocess.CompletedProcess[str]:
    out, err = result.stdout.decode("utf-8", "replace"), result.stderr.decode("utf-8", "replace")
    assert not check or result.returncode == 0, f"hg {arguments} gave {result.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess(result.args, result.returncode, out, err)


@dataclass
class Site:
    """A folder with repositories, one hg, and an environment that knows nothing of the user's settings."""

    folder: Path
    program: Program
    environ: dict[str, str] = field(init=False)
    #: What the user's settings are at first.
    hgrc: str = field(init=False)
    #: Whether a process of hg may begin with Mercurial's modules loaded, see `fork_server.py`.
    forks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.hgrc = (
            "[ui]\n"
            f"ssh = {sys.executable} -S {DUMMY_SSH}\n"
            f"remotecmd = {self.program.path}\n"
            "username = Tést Author <test@example.org>\n"
            "timeout = 30\n"
            "[phases]\nnew-commit = draft\n"
            "[format]\nuse-share-safe = yes\n"
        )
        self._hgrc_path.write_text(self.hgrc, encoding="utf-8")
        self.environ = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder),
            "HGRCPATH": str(self._hgrc_path),
            "HGENCODING": "utf-8",
            "LC_ALL": "C.UTF-8",
            "USER": "localuser",
        }
        if self.forks:
            self.environ[FORK_SERVER] = fork_servers().get(self.program.path).socket
        self._first_environ = dict(self.environ)

    def hg(
        self, *arguments: str | bytes | Path, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run hg and give its result; a failure that was not expected shows both outputs."""
        environ = {**self.environ, **(env or {})}
        result = None
        if FORK_SERVER in environ:
            result = fork_servers().get(self.program.path).run(arguments, environ, self.folder, HG_LIMIT_SECONDS)
        if result is None:
            result = subprocess.run(
                [self.program.path, *arguments],
                env=environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=HG_LIMIT_SECONDS,
                check=False,
            )
        return _checked(result, arguments, check)

    def local_hg(self, *arguments: str | bytes | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run hg without any repository's settings, for what prepares a test or reads, see `command_server.py`."""
        if self._hgrc_path.read_text(encoding="utf-8") != self.hgrc or self.environ != self._first_environ:
            return self.hg(*arguments, check=check, env={"HGRCSKIPREPO": "1"})
        server = command_servers().get(self.program.path, self.hgrc)
        return _checked(server.run(arguments, self.environ, self.folder, HG_LIMIT_SECONDS), arguments, check)

    @property
    def _hgrc_path(self) -> Path:
        return self.folder / "hgrc"

    def repository(self, name: str, hgrc: str = "") -> Repository:
        """Make an empty repository with this hgrc."""
        path = self.folder / name
        path.mkdir(parents=True)
        self.local_hg("init", path)
        repository = Repository(self, path)
        repository.configure(hgrc)
        return repository

    def server(self, name: str = "server", keys: str = "", *, other: str = "") -> Repository:
        """Make a repository with the extension, `keys` for `[sourcepulse]`, and other sections."""
        return self.repository(
            name, f"[extensions]\nsourcepulse_hg = {self.program.extension}\n[sourcepulse]\n{keys}\n{other}\n"
        )


@dataclass(frozen=True)
class Repository:
    """A repository on disk."""

    site: Site
    path: Path

    @property
    def outbox(self) -> Path:
        """The default outbox of the repository."""
        return self.path / ".hg" / "sourcepulse" / "outbox.db"

    def configure(self, hgrc: str) -> None:
        """Write the repository's hgrc."""
        (self.path / ".hg" / "hgrc").write_text(textwrap.dedent(hgrc), encoding="utf-8")

    def hg(
        self, *arguments: str | bytes | Path, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run hg in this repository."""
        if env is None and is_local(self.path, arguments):
            return self.site.local_hg("--repository", self.path, *arguments, check=check)
        return self.site.hg("--repository", self.path, *arguments, check=check, env=env)

    def commit(self, message: str | bytes = "change", *options: str | bytes, name: str | bytes = "file") -> None:
        """Change a file and commit it."""
        path = os.fsencode(self.path) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab") as file:
            file.write(b"line\n")
        self.hg("commit", "--addremove", "--message", message, *options)

    def build(self, dag: str) -> None:
        """Make changesets in one go, see `hg help debugbuilddag`; `+3` is three in a row."""
        self.hg("debugbuilddag", "--new-file", dag)

    def push(
        self, to: Repository, *options: str | Path, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Push to a repository on this machine."""
        return self.hg("push", "--force", to.path, *options, check=check, env=env)

    def push_ssh(
        self, to: Repository, *options: str | Path, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Push through the pipes of an ssh that runs the server's command here."""
        return self.hg("push", "--force", f"ssh://host/{to.path}", *options, check=check, env=env)

    def nodes(self, revset: str = "all()") -> list[str]:
        """Return the nodes of a revset, in the order of the repository."""
        log = ("--repository", self.path, "log", "--rev", f"sort({revset}, rev)", "--template", "{node}\n")
        # Without the repository's own settings, unless they are needed.
        local = self.site.local_hg(*log, check=False)
        return (local if local.returncode == 0 else self.site.hg(*log)).stdout.split()

    def first_copies(self) -> list[str]:
        """Name the first copies that wait, without counter and txnid: `p` in the store, `r` outside."""
        folders = (self.path / ".hg" / "store" / "sourcepulse", self.path / ".hg" / "sourcepulse")
        names = [name for folder in folders if folder.is_dir() for name in sorted(os.listdir(folder))]
        return [name[0] for name in names if name.startswith(("p-", "r-"))]

    def events(self, outbox: Path | None = None, *, stream: str = "public", of: str = PUSH) -> list[Event]:
        """Return the events in the outbox of one type, or of those that begin so, in order."""
        return [event for event in outbox_events(outbox or self.outbox, stream=stream) if event.type.startswith(of)]

    def event(self, of: str = PUSH) -> Event:
        """Return the only event of this type in the outbox."""
        (event,) = self.events(of=of)
        return event

    def every_event(self) -> list[Event]:
        """Return all events in the outbox, in order."""
        return self.events(of="")

    def last_transaction(self) -> list[Event]:
        """Return the events of the transaction that was published last."""
        events = self.every_event()
        return [event for event in events if event.data["change_set"] == events[-1].data["change_set"]]


@contextmanager
def serve(repository: Repository, *options: str, prefix: Sequence[str] = ()) -> Iterator[str]:
    """Serve a repository over HTTP on a free port of the loopback device, give the URL; `prefix` runs the hg."""
    process = subprocess.Popen(
        [
            *prefix,
            repository.site.program.path,
            *("--repository", repository.path, "serve", "--address", "127.0.0.1", "--port", "0"),
            *("--config", "web.allow-push=*", "--config", "web.push_ssl=no", "--accesslog", os.devnull),
            *options,
        ],
        env={**repository.site.environ, "PYTHONUNBUFFERED": "1"},
        cwd=repository.site.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listening at" in line, f"hg serve said {line!r}"
        port = line.split("bound to ")[1].split(")")[0].rpartition(":")[2]
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.communicate(timeout=HG_LIMIT_SECONDS)


_WSGI = """\
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
from mercurial.hgweb import hgweb
handler = type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *a: None})
application = hgweb(sys.argv[1].encode())
def authenticated(environ, start_response):
    environ["REMOTE_USER"] = sys.argv[2]
    return application(environ, start_response)
server = make_server("127.0.0.1", 0, authenticated, handler_class=handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def serve_wsgi(repository: Repository, user: str) -> Iterator[str]:
    """Serve a repository of the venv's hg as a web server does that has authenticated the user; give the URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WSGI, repository.path, user],
        env={**repository.site.environ, "USER": "www-data"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.kill()
        process.communicate(timeout=HG_LIMIT_SECONDS)


def copy_repository(repository: Repository, name: str) -> Repository:
    """Copy the files of a repository, as cp or a restored backup does."""
    path = repository.site.folder / name
    shutil.copytree(repository.path, path, symlinks=True)
    return Repository(repository.site, path)
