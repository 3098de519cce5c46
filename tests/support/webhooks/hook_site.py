# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A configuration with webhooks, and the command on it."""

from __future__ import annotations

from pathlib import Path

from support.brokers.embedded_log import log_url
from support.in_process import Ran, run_command


class HookSite:
    """A folder with a configuration, a log that is the broker, and the hook store beside it.

    >>> site = HookSite(tmp_path, 'allow = ["127.0.0.1:8065"]')
    >>> site.ok("add", "chat", "http://127.0.0.1:8065/in", "--topic", "#").stdout
    'whsec_...'
    """

    def __init__(self, folder: Path, table: str) -> None:
        self.folder = folder
        self.log = folder / "log.db"
        self.store = folder / "webhooks.db"
        self.file = folder / "config.toml"
        self.configure(table)

    def configure(self, table: str | None) -> None:
        """Write the configuration file; None leaves the table out."""
        webhooks = "" if table is None else f"[webhooks]\n{table}\n"
        self.file.write_text(f'broker = "{log_url(self.folder)}"\n{webhooks}', encoding="utf-8")

    def run(self, action: str, *arguments: str) -> Ran:
        """Run one action."""
        return run_command("webhook", action, "--config", str(self.file), *arguments)

    def ok(self, action: str, *arguments: str) -> Ran:
        """Run one action, which succeeds."""
        ran = self.run(action, *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran
