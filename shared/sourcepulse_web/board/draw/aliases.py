# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which tree a build belongs to: by the configuration, then by what events say, as shared/docs/web.md lists it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from sourcepulse_web.board.store import Row
from sourcepulse_web.settings import TreeSettings


class Aliases:
    """The names and addresses of all repositories at one moment."""

    def __init__(self, configured: Mapping[str, TreeSettings], trees: Iterable[Row]) -> None:
        self.configured = {tree.repository: tree for tree in configured.values()}
        self._urls: dict[str, str | None] = {}
        self._names: dict[str, str | None] = {}
        for tree in configured.values():
            for url in (*tree.repository_urls, *((tree.hg_web,) if tree.hg_web else ())):
                self._urls.setdefault(_clean(url), tree.repository)
            self._names.setdefault(tree.name, tree.repository)
        #: Of what events say, an address or a name of two repositories is of neither.
        self._seen_urls: dict[str, str | None] = {}
        self._seen_names: dict[str, str | None] = {}
        rows = list(trees)
        self.repos: list[str] = sorted({*self.configured, *(row["repo"] for row in rows)})
        for row in rows:
            for url in row["urls"]:
                _add(self._seen_urls, _clean(url), row["repo"])
        for repo in self.repos:
            _add(self._seen_names, repo.rpartition("/")[2], repo)
        self._seen_names |= {repo: repo for repo in self.repos}
        self._longest = sorted(self.repos, key=len, reverse=True)
        self._known: dict[tuple[str, ...], str | None] = {}
        self.fingerprint = hash((tuple(self.repos), *map(_frozen, (self._urls, self._names, self._seen_urls))))

    def repo_of(self, repositories: Sequence[str], tree: str) -> str | None:
        """Return the repository that a build is of; None if only its revision can say that."""
        key = (tree, *repositories)
        if key not in self._known:
            self._known[key] = self._find([_clean(url) for url in repositories], tree)
        return self._known[key]

    def name_of(self, repo: str) -> str:
        """Return the name of a tree: the configured one, else the last part of its path."""
        tree = self.configured.get(repo)
        return tree.name if tree else repo.rpartition("/")[2] or repo

    def _find(self, urls: Sequence[str], tree: str) -> str | None:
        for known in (self._urls, self._seen_urls):
            for url in urls:
                if found := known.get(url):
                    return found
            if known is self._urls and (found := self._names.get(tree)):
                return found
        for url in urls:
            path: str = urlsplit(url).path if "://" in url else url
            for repo in self._longest:
                if path.rstrip("/").endswith(f"/{repo}") or path.strip("/") == repo:
                    return str(repo)
        return self._seen_names.get(tree) if tree else None


def _clean(url: str) -> str:
    return url.rstrip("/")


def _add(known: dict[str, str | None], name: str, repo: str) -> None:
    known[name] = repo if known.get(name, repo) == repo else None


def _frozen(known: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(known.items()))
