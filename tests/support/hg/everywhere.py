# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The extension enabled for everything that a user does, with Mercurial's own checks for developers on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.hg.sites import Repository, Site

_DEVELOPERS_CHECKS = "[devel]\nall-warnings = yes\nwarn-config = yes\nwarn-config-unknown = yes\n"


class Everywhere:
    """A site whose every hg has these extensions and ours, by the hgrc of its user."""

    def __init__(self, site: Site, *extensions: str) -> None:
        lines = "".join(f"{name} =\n" for name in extensions)
        ours = f"[extensions]\nsourcepulse_hg = {site.program.extension}\n"
        (site.folder / "hgrc").write_text(f"{site.hgrc}{_DEVELOPERS_CHECKS}{ours}{lines}", encoding="utf-8")
        self.site = site

    def hg(self, repository: Repository, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run hg in a repository; none of the checks and nothing of ours may complain."""
        result = self.site.hg("--cwd", repository.path, *arguments)
        assert "devel-warn" not in result.stderr, result.stderr
        assert "sourcepulse: " not in result.stderr, result.stderr
        return result
