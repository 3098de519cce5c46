# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A sender as a process of its own: `python -m support.webhooks.sender_child FOLDER`, until it is killed; see `Rig`."""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path

from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.send.sender import Sender
from sourcepulse_web.webhooks.settings import Schedule, WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from sourcepulse_web.webhooks.visibility import Asker
from support.webhooks.rig import EXCHANGE, notices_of


def main(folder: Path) -> None:
    """Send until the process is killed."""
    values = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    schedule = values.pop("schedule")
    schedule["retry_s"] = tuple(schedule["retry_s"])
    for name in ("allow", "ports", "proxies"):
        values[name] = tuple(values[name])
    settings = WebhookSettings(schedule=Schedule(**schedule), **values)
    store, queues = HookStore(folder / "webhooks.db"), HookQueues(folder / "log.db", EXCHANGE)
    notices = notices_of(folder)
    notices.start()
    Sender(store, queues, Poster(settings), notices, Asker(None), settings).run(threading.Event())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]))
