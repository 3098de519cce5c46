# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real Bugzilla tree served on loopback, one Perl under taint mode for each request, and a visitor for it."""

from __future__ import annotations

import http.cookiejar
import json
import re
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from html import unescape
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

REQUEST_LIMIT_SECONDS = 120.0
_HIDDEN = re.compile(r'<input type="hidden"\s[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"', re.S)
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")


class BugzillaSite:
    """Serves the scripts of a tree until closed; `errors` is what they wrote to the error log.

    `run_as` is the beginning of a command that runs another one as the web server's user.
    """

    def __init__(self, tree: Path, run_as: Sequence[str] = ()) -> None:
        self.tree = tree
        self.run_as = run_as
        self.errors: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site._serve(self)

            do_POST = do_PUT = do_GET  # noqa: N815 - names that the library calls

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, with a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        name, _, rest = path.lstrip("/").partition("/")
        script, path_info = ("rest.cgi", f"/{rest}") if name == "rest" else (name or "index.cgi", "")
        length = int(request.headers.get("Content-Length") or 0)
        environment = {
            "PATH": "/usr/bin:/bin",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": "test",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self._server.server_address[1]),
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": request.command,
            "REQUEST_URI": request.path,
            "QUERY_STRING": query,
            "SCRIPT_NAME": f"/{script}",
            "PATH_INFO": urllib.parse.unquote(path_info),
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": request.headers.get("Content-Type") or "",
        } | {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
        done = subprocess.run(
            [*self.run_as, "perl", "-T", script],
            cwd=self.tree,
            env=environment,
            input=request.rfile.read(length),
            capture_output=True,
            timeout=REQUEST_LIMIT_SECONDS,
            check=False,
        )
        if done.stderr.strip():
            self.errors.append(done.stderr.decode("utf-8", "replace"))
        head, *body = _END_OF_HEADERS.split(done.stdout, maxsplit=1)
        headers = [line.partition(": ")[::2] for line in head.decode("latin-1").splitlines() if ": " in line]
        status = next((value for name, value in headers if name.lower() == "status"), "200 OK")
        request.send_response(int(status.split()[0]) if body else 500)
        for name, value in headers:
            if name.lower() not in {"status", "content-length", "connection"}:
                request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[0] if body else done.stderr)


class Visitor:
    """A user with a browser and an API key."""

    def __init__(self, site: BugzillaSite, *, api_key: str) -> None:
        self._site = site
        self._api_key = api_key
        jar = http.cookiejar.CookieJar()
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def log_in(self, login: str, password: str) -> None:
        """Log in with the browser; Bugzilla wants to have been visited before."""
        self._page("index.cgi")
        form = hidden_fields(self._page("index.cgi?GoAheadAndLogIn=1"))
        form |= {"Bugzilla_login": login, "Bugzilla_password": password, "GoAheadAndLogIn": "Log in"}
        page = self.submit("index.cgi", form)
        assert "logout" in page.lower(), page[:2000]

    def page(self, path: str) -> str:
        """Look at a page."""
        return self._page(path)

    def submit(self, script: str, form: Mapping[str, str | list[str]]) -> str:
        """Submit a form."""
        return self._page(script, urllib.parse.urlencode(form, doseq=True).encode())

    def fill_in(self, path: str, *, more: Mapping[str, str] | None = None, **fields: str | list[str] | None) -> str:
        """Look at a page, fill in the form of the same script that has these fields, submit it.

        A field that is None is left empty, as a checkbox is. `more` is what a later form of the script would add.
        """
        script = path.partition("?")[0]
        wanted = {name for name, value in fields.items() if value is not None}
        forms = forms_of(self._page(path), script)
        form = next((form for form in forms if wanted <= form.names and "token" in form.names), None)
        assert form is not None, (path, [sorted(form.names) for form in forms])
        filled = form.values | {name: value for name, value in fields.items() if value is not None}
        kept = {name: value for name, value in filled.items() if fields.get(name, "") is not None}
        return self.submit(script, kept | (more or {}))

    def rest(self, method: str, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Call REST; what it refuses is an assertion."""
        status, answer = self.try_rest(method, path, content)
        assert status < 400, answer
        return answer

    def try_rest(self, method: str, path: str, content: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call REST, without the browser's cookies, and give the status and the answer."""
        request = urllib.request.Request(
            f"{self._site.url}rest/{path}?api_key={self._api_key}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_SECONDS) as response:
                return response.status, cast("dict[str, Any]", json.load(response))
        except urllib.error.HTTPError as error:
            return error.code, cast("dict[str, Any]", json.load(error))

    def _page(self, path: str, data: bytes | None = None) -> str:
        request = urllib.request.Request(self._site.url + path, data)
        with self._browser.open(request, timeout=REQUEST_LIMIT_SECONDS) as response:
            return cast("bytes", response.read()).decode("utf-8", "replace")


class Form:
    """A form of a page: the names of its fields, and the values with which it would be submitted as it is."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.values: dict[str, str | list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Add a value; a field with several has a list."""
        before = self.values.get(name)
        if before is None:
            self.values[name] = value
        else:
            self.values[name] = [*(before if isinstance(before, list) else [before]), value]


def forms_of(page: str, script: str) -> list[Form]:
    """Return the forms of a page that a script gets."""
    parser = _Forms(script)
    parser.feed(page)
    parser.close()
    return parser.forms


class _Forms(HTMLParser):
    def __init__(self, script: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._script = script
        self._form: Form | None = None
        #: The select or textarea that is open, and what was found in it.
        self._name = ""
        self._first: str | None = None
        self._has_value = False
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form() if given.get("action", "").partition("?")[0] == self._script else None
            if self._form is not None:
                self.forms.append(self._form)
        elif self._form is not None:
            self._field(self._form, tag, given)

    def _field(self, form: Form, tag: str, given: Mapping[str, str]) -> None:
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "option" and self._name:
            self._first = value if self._first is None else self._first
            if "selected" in given:
                self._has_value = True
                form.add(self._name, value)
        if tag not in {"input", "select", "textarea"} or not name:
            return
        form.names.add(name)
        if tag in {"select", "textarea"}:
            self._name, self._first, self._text = name, None, ""
            self._has_value = tag == "select" and "multiple" in given
        elif given.get("type") in {"checkbox", "radio"}:
            if "checked" in given:
                form.add(name, value or "on")
        elif given.get("type") not in {"submit", "button", "file", "image", "reset"}:
            form.add(name, value)

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif self._form is not None and self._name and tag in {"select", "textarea"}:
            if tag == "textarea":
                self._form.add(self._name, self._text.removeprefix("\n"))
            elif not self._has_value and self._first is not None:
                self._form.add(self._name, self._first)
            self._name = ""


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of all forms of a page; the last of a name wins."""
    return {name: unescape(value) for name, value in _HIDDEN.findall(page)}
