# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The webhooks of a real gateway: hooks that are added as the command adds them, and the sender, its child."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sourcepulse.config import load
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.place import place_of
from support.brokers.embedded_log import wait_until
from support.web.gateway import Gateway

LIMIT_SECONDS = 60.0
#: Of a line of /proc/PID/stat behind the name of the program: the state, and the parent.
_STATE, _PARENT = 0, 1


def add_hook(gateway: Gateway, name: str, url: str, topics: Sequence[str] = ("#",)) -> str:
    """Add a hook and return its secret."""
    config = load(file=gateway.configuration, environ={"SOURCEPULSE_BROKER": f"file://{gateway.log}"})
    with open_desk(place_of(config, {}, log=gateway.log)) as desk:
        return str(desk.add(name, url, topics).secret)


def state_of(gateway: Gateway) -> dict[str, Any]:
    """Return what /ready says of the webhooks; empty where they are off."""
    return dict(gateway.get("/ready").document["webhooks"] or {})


def warnings_of(gateway: Gateway) -> list[str]:
    """Return the warnings of /ready."""
    return list(gateway.get("/ready").document["warnings"])


def sender_of(gateway: Gateway) -> int:
    """Wait until the sender of a gateway is at work, and return its process."""
    wait_until(lambda: state_of(gateway).get("sender_up"), LIMIT_SECONDS)
    (pid,) = children(gateway.pid)
    return pid


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(path)
        if fields and fields[_STATE] != "Z" and int(fields[_PARENT]) == pid:
            found.append(int(path.parent.name))
    return found


def runs(pid: int) -> bool:
    """Return whether a process runs."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    return bool(fields) and fields[_STATE] != "Z"


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def ids_of(bodies: Sequence[bytes]) -> list[str]:
    """Return the ids of events, of the bodies of POSTs."""
    return [json.loads(body)["id"] for body in bodies]
