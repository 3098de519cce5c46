# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An extension for the tests: hg dies or refuses at a point of a transaction that adds changesets or sets a tree.

`[faults] at = validator|finalize|post-finalize|postclose|hook`, `[faults] how = kill|exit|veto`.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from mercurial import error


def reposetup(ui: Any, repo: Any) -> None:
    point = ui.config(b"faults", b"at")
    if not repo.local() or not point:
        return

    class FaultyRepository(repo.__class__):  # type: ignore[misc]
        def transaction(self, *args: Any, **kwargs: Any) -> Any:
            outermost = self.currenttransaction() is None
            tr = super().transaction(*args, **kwargs)
            if outermost:
                self._arm(tr, sets_tree=args[:1] == (b"treestatus",))
            return tr

        def _arm(self, tr: Any, *, sets_tree: bool) -> None:
            def fail(_tr: Any) -> None:
                if sets_tree or len(self.unfiltered().changelog) > tr.changes[b"origrepolen"]:
                    fail_now(ui.config(b"faults", b"how"))

            if point == b"validator":
                # After that of sourcepulse.
                tr.addvalidator(b"~~faults", fail)
            elif point == b"finalize":
                # Amid those of Mercurial: the changelog is visible, the transaction is not committed.
                tr.addfinalize(b"zz-faults", fail)
            elif point == b"postclose":
                # Before that of sourcepulse.
                tr.addpostclose(b"!faults", fail)

    repo.__class__ = FaultyRepository


def fail_now(how: bytes) -> None:
    if how == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == b"exit":
        os._exit(9)
    raise error.Abort(b"refused by the test")
