# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Behind a web server that runs hgweb as a CGI program, the user whom that server authenticated has pushed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from support.hg import HG_LIMIT_SECONDS, Site

#: What `hgweb.cgi` in Mercurial's own distribution does.
_CGI = """\
import sys
from mercurial.hgweb import hgweb, wsgicgi
wsgicgi.launch(hgweb(sys.argv[1].encode()))
"""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serve_cgi(site: Site, config: str, user: str) -> Iterator[str]:
    """Run the program for each request, with the environment of the CGI; give the URL."""
    configuration = site.folder / "hgweb.config"
    configuration.write_text(config, encoding="utf-8")

    def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        variables = {name: value for name, value in environ.items() if isinstance(value, str)}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        result = subprocess.run(
            [sys.executable, "-c", _CGI, configuration],
            env={**variables, **site.environ, "USER": "www-data", "REMOTE_USER": user},
            input=environ["wsgi.input"].read(length),
            capture_output=True,
            timeout=HG_LIMIT_SECONDS,
            check=False,
        )
        head, _, body = result.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode("latin-1").split("\r\n") if ": " in line]
        status = dict(headers).get("Status", "500 No CGI output")
        start_response(status, [header for header in headers if header[0] != "Status"])
        return [body]

    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(HG_LIMIT_SECONDS)


def test_a_push_by_cgi_names_the_user_and_the_repository_below_the_root(site: Site) -> None:
    root = site.folder / "srv"
    with (site.folder / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"[extensions]\nsourcepulse_hg =\n[sourcepulse]\nroot = {root}\n")
    server = site.repository("srv/group/project")
    work = site.repository("work")
    work.commit()
    config = f"[paths]\n/ = {root}/**\n[web]\nallow-push = *\npush_ssl = no\n"
    with _serve_cgi(site, config, "alice@example.org") as url:
        work.hg("push", f"{url}group/project")
    event = server.event()
    assert (event.data["user"], event.data["url"]) == ("alice@example.org", "remote:http")
    assert (event.subject, event.data["last"]) == ("group/project", *work.nodes())
    # The clone of a user is not below the root.
    assert work.every_event() == []
