# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The web gateway of the settings, if they have one: whether it answers, and what it says of itself."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sourcepulse.operations.doctor.finding import Finding, Job, broken, program, warning, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words

LISTEN = "127.0.0.1:8080"
ANSWER_LIMIT_SECONDS = 4.0
ANSWER_MAX_BYTES = 1 << 16
UNIT = Path("/etc/systemd/system/sourcepulse-web.service")
#: Addresses that stand for all of this host's.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing listens here


def jobs(situation: Situation) -> Iterator[Job]:
    """Yield the job that asks the gateway."""
    table = situation.config.table("web")
    if table or "webhooks" in situation.config.values:
        host, _, port = str(table.get("listen", LISTEN)).rpartition(":")
        address = f"{_EVERYWHERE.get(host, host)}:{port}"
        yield Job(id="SP411", about=address, run=lambda: _gateway(situation, address))


def _gateway(situation: Situation, address: str) -> Iterator[Finding]:
    try:
        answer = _ready(address)
    except (OSError, ValueError, http.client.HTTPException) as error:
        yield broken("SP411", address, f"no web gateway answers at {address}: {error}", start=_start(situation))
        return
    for reason in answer["reasons"]:
        yield broken("SP412", address, f"the web gateway is not ready: {reason}", address=address)
    hooks = answer.get("webhooks") or {}
    of_hooks = (hooks.get("sender_problem"), hooks.get("store_problem"))
    for each in answer["warnings"]:
        if each not in of_hooks:
            yield warning("SP412", address, f"the web gateway warns: {each}", address=address)
    yield from _hooks(situation, address, hooks)
    if not answer["reasons"] and not answer["warnings"]:
        yield well("SP411", address, f"the web gateway {answer['version']} is ready")


def _hooks(situation: Situation, address: str, hooks: dict[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the webhooks, by what the gateway says of them; nothing where they are off."""
    options = situation.options(outbox=False)
    if problem := hooks.get("sender_problem"):
        yield broken("SP413", address, f"the sender of webhooks does not run: {problem}", address=address)
    if problem := hooks.get("store_problem"):
        yield broken("SP414", address, f"the webhooks cannot be read: {problem}", options=options)
    if parked := hooks.get("parked"):
        found = f"{parked} webhook{' is' if parked == 1 else 's are'} parked"
        yield warning("SP415", address, f"{found}; nothing is POSTed there", options=options)
    if hooks.get("sender_up") and not any(hooks.get(each) for each in ("sender_problem", "store_problem", "parked")):
        yield well("SP413", address, "the sender of webhooks works")


def _ready(address: str) -> dict[str, Any]:
    """Return what /ready says; ValueError if that is not what a gateway answers."""
    with closing(http.client.HTTPConnection(address, timeout=ANSWER_LIMIT_SECONDS)) as connection:
        connection.request("GET", "/ready")
        body = connection.getresponse().read(ANSWER_MAX_BYTES)
    found = json.loads(body)
    if not isinstance(found, dict) or not {"reasons", "warnings", "version"} <= found.keys():
        raise ValueError("another program does")
    return found


def _start(situation: Situation) -> Words:
    if UNIT.exists() and shutil.which("systemctl"):
        return Words(f"systemctl restart {UNIT.stem}")
    return Words(f"{shell_words([program()])} web {situation.options(outbox=False)}")
