# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The web gateway of the settings, if they have one: whether it answers, and what it says of itself."""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sourcepulse.events.safe_text import short
from sourcepulse.operations.doctor.finding import Finding, Job, broken, note, program, warning, well
from sourcepulse.operations.doctor.situation import Situation
from sourcepulse.operations.doctor.table import Words, shell_words

LISTEN = "127.0.0.1:8080"
ANSWER_LIMIT_SECONDS = 4.0
ANSWER_MAX_BYTES = 1 << 16
#: How long the command that lists the hooks may take, and of how many hooks a finding has the names.
LIST_LIMIT_SECONDS = 8.0
NAMED_MAX = 5
REASON_MAX_CHARACTERS = 80
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
    counts = {state: hooks.get(state) or 0 for state in ("parked", "failing", "off")}
    cards = _cards(options) if any(counts.values()) else []
    if parked := counts["parked"]:
        found = f"{parked} webhook{' is' if parked == 1 else 's are'} parked; nothing is POSTed there"
        named = [each for each in cards if each["state"] == "parked"]
        yield _named(warning("SP415", address, _with_names(found, named), options=options), named, options)
    if counts["failing"] or counts["off"]:
        found = f"{counts['failing']} failing, {counts['off']} switched off by the receiver"
        named = [each for each in cards if each["state"] in ("failing", "off")]
        yield _named(note("SP416", address, _with_names(found, named), options=options), named, options)
    if hooks.get("sender_up") and not any(hooks.get(each) for each in ("sender_problem", "store_problem", "parked")):
        yield well("SP413", address, "the sender of webhooks works")


def _cards(options: Words) -> list[dict[str, Any]]:
    """Return the hooks, of the command that lists them, because /ready names none to everybody; [] if it fails."""
    program_file = Path(sys.executable).with_name("sourcepulse")
    try:
        done = subprocess.run(
            [str(program_file), "webhook", "list", "--json", *shlex.split(options)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIST_LIMIT_SECONDS,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]
    except (OSError, ValueError, subprocess.SubprocessError):
        # Another user's store, for instance: the numbers of /ready stay.
        return []


def _with_names(found: str, cards: Sequence[dict[str, Any]]) -> str:
    names = [f"{each['name']} ({reason})" if (reason := _reason(each)) else each["name"] for each in cards[:NAMED_MAX]]
    more = f", and {len(cards) - NAMED_MAX} more" if len(cards) > NAMED_MAX else ""
    return found + (f": {', '.join(names)}{more}" if names else "")


def _reason(card: dict[str, Any]) -> str:
    """Return why a hook is as it is, in a few words."""
    last = card["last"] or {}
    status = f"the receiver answers {last['status']}" if last.get("status") else ""
    reason = card["reason"] or last.get("reason") or status
    waiting = f"{card['waiting']} waiting" if card["waiting"] else ""
    return "; ".join(each for each in (short(reason, REASON_MAX_CHARACTERS), waiting) if each)


def _named(finding: Finding, cards: Sequence[dict[str, Any]], options: Words) -> Finding:
    """Return a finding with the command that shows each of its first hooks."""
    shows = (f"{shell_words([program()])} webhook show {each['name']} {options}" for each in cards[:NAMED_MAX])
    return replace(finding, commands=(*finding.commands, *map(str.rstrip, shows)))


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
