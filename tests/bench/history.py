# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A Mercurial extension that fills a repository: `hg bench-history COUNT`, each changeset with a few changed files."""

from __future__ import annotations

import random
from typing import Any

from mercurial import context, registrar

cmdtable: dict[bytes, Any] = {}
command = registrar.command(cmdtable)

FILES = 300
FILES_PER_CHANGESET = 5
LINES = 30
DESCRIPTION = b"Bug %d - keep the parser from reading behind the end of its input, r=somebody\n\n" + b"Because. " * 12


@command(b"bench-history", [], b"COUNT")
def bench_history(ui: Any, repo: Any, count: bytes) -> None:
    """Commit that many changesets in a line."""
    chance = random.Random(1)
    files = {b"dir%d/file%d.c" % (n % 20, n): [b"line %d\n" % line for line in range(LINES)] for n in range(FILES)}
    names = sorted(files)

    def content(repo: Any, ctx: Any, path: bytes) -> Any:
        return context.memfilectx(repo, ctx, path, b"".join(files[path]))

    with repo.wlock(), repo.lock(), repo.transaction(b"bench"):
        parent = repo[b"tip"].node()
        changed = names
        for number in range(int(count)):
            if number:
                changed = chance.sample(names, FILES_PER_CHANGESET)
            for name in changed:
                files[name][chance.randrange(LINES)] = b"line of changeset %d\n" % number
            parent = context.memctx(
                repo, (parent, None), DESCRIPTION % number, changed, content, b"Bench <bench@example.org>"
            ).commit()
