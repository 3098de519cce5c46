# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Erlang expressions, evaluated in a running node in milliseconds; each call of rabbitmqctl starts a machine."""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ERL_CALL = next(iter(sorted(Path("/usr/lib/erlang").glob("erts-*/bin/erl_call"))), None)
CALL_LIMIT_SECONDS = 60


def evaluate(node: str, environ: Mapping[str, str], expression: str) -> str:
    """Return the value of an expression as `rabbitmqctl eval` prints it, in one line.

    `environ` names the port mapper of the node and the home whose cookie it accepts.
    """
    return _call(node, environ, f'io_lib:format("~0tp", [begin {expression} end])')


def evaluate_json(node: str, environ: Mapping[str, str], expression: str) -> Any:
    """Return the value of an expression: texts, numbers, lists, no pairs."""
    return json.loads(_call(node, environ, f"rabbit_json:encode(begin {expression} end)"))


def _call(node: str, environ: Mapping[str, str], text: str) -> str:
    assert ERL_CALL is not None, "erl_call is missing, which Debian's erlang-base has"
    done = subprocess.run(
        [str(ERL_CALL), "-sname", node, "-c", (Path(environ["HOME"]) / ".erlang.cookie").read_text(), "-e"],
        env=dict(environ),
        # It prints a list of these characters as a text without escapes.
        input=f"binary_to_list(base64:encode(unicode:characters_to_binary({text}))).\n",
        capture_output=True,
        text=True,
        timeout=CALL_LIMIT_SECONDS,
        check=False,
    )
    answer = re.fullmatch(r'\{ok, "(.*)"\}\s*', done.stdout)
    if answer is None:
        raise RuntimeError(f"{text}: {done.stdout}{done.stderr}")
    return b64decode(answer.group(1)).decode()


def binary(text: str) -> str:
    """Return the Erlang expression for a text."""
    return f"<<{','.join(map(str, text.encode()))}>>"
