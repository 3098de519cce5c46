# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A private Apache with mod_wsgi on a free loopback port: Debian's hgweb, as the web server's own user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.brokers.rabbitmq import free_port
from support.component import require
from support.hg.sites import ROOT, SYSTEM_HG

HTTPD = shutil.which("apache2", path="/usr/sbin:/usr/bin:/sbin") or "/usr/sbin/apache2"
MODULES = Path("/usr/lib/apache2/modules")
WEB_USER = "www-data"
START_LIMIT_SECONDS = 30.0

_HTTPD_CONF = """\
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/httpd.pid
ErrorLog {folder}/error.log
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
{user}
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess hg processes=2 threads=3
WSGIProcessGroup hg
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {folder}/hgweb.wsgi
<Directory {folder}>
 Require all granted
</Directory>
"""
#: As Mercurial's own example has it.
_WSGI = """\
import os
os.environ.update({environ!r})
from mercurial import demandimport; demandimport.enable()
from mercurial.hgweb import hgweb
application = hgweb({config!r})
"""
_HGRC = """\
[extensions]
sourcepulse_hg = {installed}/sourcepulse_hg
[sourcepulse]
root = {folder}/srv
outbox = {folder}/outbox/outbox.db
broker = file://{folder}/outbox/log.db
"""
_WEB = """\
[paths]
/ = {folder}/srv/**
[web]
allow-push = *
push_ssl = no
"""


def is_installed() -> bool:
    """Return whether Debian's Apache, its mod_wsgi and its Mercurial are there."""
    return Path(HTTPD).exists() and (MODULES / "mod_wsgi.so").exists() and SYSTEM_HG.path.exists()


@dataclass(frozen=True)
class Apache:
    """A web server that serves the repositories in `folder/srv`; `program` is the sourcepulse that it finds."""

    folder: Path
    url: str

    @property
    def program(self) -> Path:
        """Where the extension looks for the program of its own installation."""
        return self.folder / "venv" / "bin" / "sourcepulse"

    @property
    def outbox(self) -> Path:
        """The outbox of all repositories."""
        return self.folder / "outbox" / "outbox.db"

    def log(self) -> str:
        """Return what the server wrote."""
        return (self.folder / "error.log").read_text(errors="replace")


@contextmanager
def apache() -> Iterator[Apache]:
    """Serve an empty repository `project`; the test is skipped where Apache is missing, and fails with CI set."""
    require(
        is_installed(), "no Apache with mod_wsgi (Debian: apt-get install apache2 libapache2-mod-wsgi-py3 mercurial)"
    )
    # Not in the test's own folder, which no other user can enter.
    with tempfile.TemporaryDirectory(prefix="sourcepulse-apache-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Apache(folder, f"http://127.0.0.1:{free_port()}/project")
        _prepare(server)
        process = subprocess.Popen(
            [HTTPD, "-D", "FOREGROUND", "-f", folder / "httpd.conf"], stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(START_LIMIT_SECONDS)


def _prepare(server: Apache) -> None:
    folder = server.folder
    installed = folder / "venv" / "lib" / "python3" / "site-packages"
    for package in ("hghook/sourcepulse_hg", "shared/sourcepulse"):
        shutil.copytree(ROOT / package, installed / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "hgrc").write_text(_HGRC.format(folder=folder, installed=installed))
    (folder / "hgweb.config").write_text(_WEB.format(folder=folder))
    environ = {"HGRCPATH": str(folder / "hgrc"), "HGENCODING": "utf-8", "HOME": str(folder)}
    wsgi = _WSGI.format(environ=environ, config=os.fsencode(folder / "hgweb.config"))
    (folder / "hgweb.wsgi").write_text(wsgi)
    (folder / "outbox").mkdir()
    server.program.parent.mkdir()
    plain = {"PATH": "/usr/bin:/bin", "HGRCPATH": "", "HOME": str(folder)}
    subprocess.run([SYSTEM_HG.path, "init", folder / "srv" / "project"], env=plain, check=True, timeout=60)
    user = ""
    if os.geteuid() == 0:
        user = f"User {WEB_USER}\nGroup {WEB_USER}"
        for place in (folder / "outbox", folder / "srv", *(folder / "srv").rglob("*")):
            shutil.chown(place, WEB_USER, WEB_USER)
    port = server.url.split(":")[2].partition("/")[0]
    (folder / "httpd.conf").write_text(_HTTPD_CONF.format(folder=folder, port=port, modules=MODULES, user=user))


def _wait(server: Apache, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while True:
        try:
            urllib.request.urlopen(server.url, timeout=START_LIMIT_SECONDS).close()
            return
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"hgweb does not serve:\n{server.log()}") from error
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Apache did not start:\n{server.log()}") from None
            time.sleep(0.05)
