# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A site that is prepared once for a module: each test finds it at the same place, as it was at first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support.hg.sites import EXTENSION_FOLDER, VENV_HG, Site, require

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class PreparedSite:
    """A folder, and a copy of what a module made in it; no process of a former test may run when it is restored."""

    folder: Path
    copy: Path

    def restored(self) -> Site:
        """Return the site as it was prepared, whatever a test has made of it."""
        made = _site(self.folder)
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder, symlinks=True)
        return made


def prepared_site(folder: Path, prepare: Callable[[Site], None]) -> PreparedSite:
    """Prepare a site below a folder."""
    made = _site(folder / "site")
    prepare(made)
    shutil.copytree(made.folder, folder / "prepared", symlinks=True)
    return PreparedSite(made.folder, folder / "prepared")


@contextmanager
def as_own(site: Site) -> Iterator[Site]:
    """Meanwhile, this process has the environment of the site and its hg, and its doctor is patient."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.environ.items():
            patch.setenv(name, value)
        # An hg may take longer to start on a loaded machine than the doctor waits for it.
        patch.setattr("sourcepulse.operations.doctor.doctor.READ_LIMIT_SECONDS", PATIENCE_SECONDS)
        patch.setenv("PATH", os.pathsep.join([str(VENV_HG.path.parent), site.environ["PATH"]]))
        yield site


def _site(folder: Path) -> Site:
    # By its path, as for the hg of another Python.
    return Site(folder, replace(require(VENV_HG), extension=str(EXTENSION_FOLDER)))
