# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Behind a web server that runs hgweb as a CGI program, the user whom that server authenticated has pushed."""

from __future__ import annotations

import subprocess
import sys

from support.hg.sites import HG_LIMIT_SECONDS, Site

#: What `hgweb.cgi` in Mercurial's own distribution does.
_CGI = """\
import sys
from mercurial.hgweb import hgweb, wsgicgi
wsgicgi.launch(hgweb(sys.argv[1].encode()))
"""
#: A request of `hg push`; the argument is the word "force" in hexadecimal digits.
_REQUEST = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "SERVER_NAME": "hg.example.org",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "/hg",
    "REQUEST_METHOD": "POST",
    "QUERY_STRING": "cmd=unbundle",
    "HTTP_X_HGARG_1": "heads=666f726365",
    "CONTENT_TYPE": "application/mercurial-0.1",
    "REMOTE_ADDR": "192.0.2.7",
}


def test_a_push_by_cgi_names_the_user_and_the_repository_below_the_root(site: Site) -> None:
    root = site.folder / "srv"
    with (site.folder / "hgrc").open("a", encoding="utf-8") as hgrc:
        hgrc.write(f"[extensions]\nsourcepulse_hg =\n[sourcepulse]\nroot = {root}\n")
    configuration = site.folder / "hgweb.config"
    configuration.write_text(f"[paths]\n/ = {root}/**\n[web]\nallow-push = *\npush_ssl = no\n", encoding="utf-8")
    server, work = site.repository("srv/group/project"), site.repository("work")
    work.commit()
    bundle = site.folder / "bundle.hg"
    work.hg("bundle", "--all", "--type", "none-v1", bundle)
    content = bundle.read_bytes()
    request = {**_REQUEST, "PATH_INFO": "/group/project", "CONTENT_LENGTH": str(len(content))}
    result = subprocess.run(
        [sys.executable, "-c", _CGI, configuration],
        env={**site.environ, **request, "USER": "www-data", "REMOTE_USER": "alice@example.org"},
        input=content,
        capture_output=True,
        timeout=HG_LIMIT_SECONDS,
        check=False,
    )
    assert result.stdout.startswith(b"Status: 200 "), result
    event = server.event()
    assert (event.data["user"], event.data["url"]) == ("alice@example.org", "remote:http")
    assert (event.subject, event.data["last"]) == ("group/project", *work.nodes())
    # What the users of this machine do in their clones is not below the root.
    assert work.every_event() == []
