# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Query a service for the state of a tree with a command from the hgrc, for a limited time.

The command prints JSON in the form of tree-status services, `{"status": "closed", "reason": "..."}`, possibly inside
`{"result": {...}}` and with the time of the change as `since`; or one line with the state followed by the reason.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO, cast

from sourcepulse_hg.tree.state import CLOSED, OPEN, REASON_MAX_CHARACTERS, STATES, TreeState, TreeStateError

#: The pusher waits this long, and so does every other push to this repository meanwhile.
ANSWER_LIMIT_SECONDS = 5.0
ANSWER_MAX_BYTES = 64 * 1024


def ask_service(command: bytes, environ: Mapping[bytes, bytes], now: float) -> TreeState:
    """Run the command in a shell; raises TreeStateError if it fails, times out, or prints no valid answer."""
    process = subprocess.Popen(
        [b"/bin/sh", b"-c", command],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer = _answer(process)
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return parse_answer(answer, now)


def _answer(process: subprocess.Popen[bytes]) -> bytes:
    """Return what the process prints until it exits; processes that it leaves running are ignored."""
    answer, pipe = bytearray(), cast("BinaryIO", process.stdout)
    deadline = time.monotonic() + ANSWER_LIMIT_SECONDS
    late = TreeStateError(f"tree_command does not answer within {ANSWER_LIMIT_SECONDS:.0f} s")
    # Not communicate(), which would keep everything that a command prints without end until the time is over.
    with pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if time.monotonic() >= deadline or not selector.select(max(0.0, deadline - time.monotonic())):
                raise late
            chunk = os.read(pipe.fileno(), ANSWER_MAX_BYTES)
            if not chunk:
                break
            answer += chunk
            if len(answer) > ANSWER_MAX_BYTES:
                raise TreeStateError(f"tree_command prints more than {ANSWER_MAX_BYTES} bytes")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    if process.returncode:
        raise TreeStateError(f"tree_command ended with {process.returncode}")
    return bytes(answer)


def parse_answer(answer: bytes, now: float) -> TreeState:
    """Parse the answer of a service; raises TreeStateError if it is not a state."""
    text = answer.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return _from_json(text, now)
    line = text.partition("\n")[0].strip()
    for state in STATES:
        if line == state or line.startswith((f"{state} ", f"{state}:")):
            reason = line[len(state) :].strip(" :")[:REASON_MAX_CHARACTERS]
            return TreeState(state, reason or None, None, None, now)
    raise TreeStateError(f"tree_command says {line[:80]!r}, and not {', '.join(STATES)}")


def _from_json(text: str, now: float) -> TreeState:
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TreeStateError(f"tree_command prints what is no JSON: {error}") from None
    if isinstance(fields.get("result"), dict):
        fields = fields["result"]
    state = fields.get("status", fields.get("state"))
    if state not in STATES:
        raise TreeStateError(f"tree_command says {str(state)[:80]!r}, and not {', '.join(STATES)}")
    reason, since = fields.get("reason"), fields.get("since")
    return TreeState(
        state=state,
        reason=str(reason)[:REASON_MAX_CHARACTERS] if reason else None,
        until=None,
        user=None,
        since=float(since) if isinstance(since, int | float) and not isinstance(since, bool) else now,
    )


def when_unreachable(problem: str, *, is_open: bool) -> TreeState:
    """Return the state to assume while the real one is unknown."""
    return TreeState(OPEN if is_open else CLOSED, f"its status is not known: {problem}", None, None, 0.0)
