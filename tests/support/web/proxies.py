# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Real proxies with TLS and HTTP/2 before a gateway, with the configuration that the page prints."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from support.brokers.rabbitmq import free_port
from support.component import require
from support.fenced_blocks import block
from support.hg.apache import HTTPD, MODULES

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin") or "/usr/sbin/nginx"
#: The name in the printed configurations.
HOST = "tree.example.org"
START_LIMIT_SECONDS = 30.0
_APACHE_MODULES = (
    *("mpm_event", "authz_core", "authz_host", "ssl", "socache_shmcb", "http2", "proxy", "proxy_http"),
    *("headers", "authn_core", "authn_file", "auth_basic", "authz_user"),
)
#: Who can sign in, with which password.
USERS = {"alice@example.org": "looking-glass", "bob@example.org": "builder"}


class Proxy(NamedTuple):
    """A running proxy: its port, and the certificate authority that it is trusted by."""

    port: int
    ca: Path

    def command(self, path: str, *options: str) -> list[str]:
        """Return the command that asks for a path as a browser does, by name, with TLS and HTTP/2."""
        return [
            "curl", "--silent", "--show-error", "--no-buffer", "--http2", "--cacert", str(self.ca), *options,
            "--connect-to", f"{HOST}:443:127.0.0.1:{self.port}", f"https://{HOST}{path}",
        ]  # fmt: skip


@contextmanager
def nginx(folder: Path, gateway_port: int, *, users: bool = False, inside: str = "") -> Iterator[Proxy]:
    """Run nginx with the server of the page; with `users` it signs in those of `USERS` where the page prints so.

    `inside` is added to the server, with its own addresses.
    """
    require(Path(NGINX).exists() and shutil.which("curl") is not None, "apt-get install nginx-light curl")
    proxy, server = _printed("shared/docs/web.md: server {", folder, gateway_port)
    stack = ExitStack()
    if users:
        part = _sign_in("shared/docs/web.md: location /hooks", "/etc/nginx/sourcepulse.users", stack, gateway_port)
        inside += part
    server = server.rstrip().removesuffix("}") + inside + "}\n"
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = (
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/errors;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{server}}}\n"
    )
    (folder / "nginx.conf").write_text(configuration, encoding="utf-8")
    with stack, _running([NGINX, "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"], folder, proxy.port):
        yield proxy


@contextmanager
def apache(folder: Path, gateway_port: int, *, users: bool = False) -> Iterator[Proxy]:
    """Run Apache with the virtual host of the page; with `users` it signs in those of `USERS`."""
    require(Path(HTTPD).exists() and shutil.which("curl") is not None, "apt-get install apache2 curl")
    proxy, host = _printed("shared/docs/web.md: <VirtualHost", folder, gateway_port)
    stack = ExitStack()
    if users:
        part = _sign_in("shared/docs/web.md: <Location /hooks>", "/etc/apache2/sourcepulse.users", stack, gateway_port)
        host = host.rstrip().removesuffix("</VirtualHost>") + part + "</VirtualHost>\n"
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _APACHE_MODULES)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    configuration = (
        f"ServerRoot {folder}\nServerName localhost\nListen 127.0.0.1:{proxy.port}\nPidFile {folder}/pid\n"
        f"ErrorLog {folder}/errors\nDefaultRuntimeDir {folder}\nMutex file:{folder}\n{modules}\n"
        f"{user}{host}"
    )
    (folder / "httpd.conf").write_text(configuration, encoding="utf-8")
    with stack, _running([HTTPD, "-D", "FOREGROUND", "-f", f"{folder}/httpd.conf"], folder, proxy.port):
        yield proxy


def _printed(name: str, folder: Path, gateway_port: int) -> tuple[Proxy, str]:
    """Return a proxy and the block of the page, with its port, its certificate and the gateway of this test."""
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = ca.issue_cert(HOST)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "site.pem"))
    proxy = Proxy(free_port(), folder / "ca.pem")
    text = block(name).text
    for printed, here in (
        ("listen 443", f"listen 127.0.0.1:{proxy.port}"),
        ("*:443", f"127.0.0.1:{proxy.port}"),
        ("/etc/ssl/tree.example.org.pem", f"{folder}/site.pem"),
        ("/etc/ssl/tree.example.org.key", f"{folder}/site.pem"),
        ("127.0.0.1:8080", f"127.0.0.1:{gateway_port}"),
    ):
        text = text.replace(printed, here)
    return proxy, text


def _sign_in(name: str, printed: str, stack: ExitStack, gateway_port: int) -> str:
    """Return a block of the page with the users of this test, in a file that the user of the proxy can read."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxy-users-")))
    folder.chmod(0o755)
    hashes = {user: hashlib.sha1(password.encode()).digest() for user, password in USERS.items()}
    lines = [f"{user}:{{SHA}}{base64.b64encode(digest).decode()}\n" for user, digest in hashes.items()]
    (folder / "users").write_text("".join(lines), encoding="utf-8")
    text = block(name).text.replace(printed, f"{folder}/users")
    return text.replace("127.0.0.1:8080", f"127.0.0.1:{gateway_port}")


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "console").open("ab") as console:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                break
            except OSError:
                said = (folder / "console").read_text(errors="replace")
                assert process.poll() is None, f"the proxy ended:\n{said}"
                assert time.monotonic() < deadline, f"the proxy did not start:\n{said}"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_LIMIT_SECONDS)
