# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Show what is pending in an outbox, where it goes, what failed and where it comes from."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from sourcepulse.cli.common import add_json, add_settings, open_outbox, print_json, settings
from sourcepulse.cli.lines import plain
from sourcepulse.errors import EXIT_OK
from sourcepulse.events.event import format_time
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS, last_loop_at
from sourcepulse.relay.on_demand import START_SECONDS, failed_start, is_on_demand
from sourcepulse.relay.relay import is_relayed

HELP = "show what is pending, sent and failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    add_settings(parser, "outbox")
    add_json(parser, "one JSON object (schema: status.v1)")


def run(args: argparse.Namespace) -> int:
    """Print the state of the outbox."""
    with open_outbox(settings(args)) as outbox:
        state = {**figures(outbox), **relay_state(outbox.path)}
        now = outbox.now()
        failed = failed_start(str(outbox.path), older_than_s=START_SECONDS, now=now)
    if args.json:
        print_json(state)
    else:
        print("\n".join(lines(state, on_demand=is_on_demand(state["outbox"]))))
        if (sentence := hung(state, now)) is not None:
            print(f"trouble  {sentence}")
        if failed is not None and not state["relay_running"]:
            print(f"trouble  the last relay failed to start: {plain(failed)}")
    return EXIT_OK


def relay_state(outbox: Path) -> dict[str, Any]:
    """Return whether a relay serves an outbox, and when its loops last turned."""
    at = last_loop_at(outbox)
    return {"relay_running": is_relayed(outbox), "relay_last_loop_at": None if at is None else format_time(at)}


def hung(state: dict[str, Any], now: float) -> str | None:
    """Return a sentence if a relay runs but its loops have not turned for longer than one that works may need."""
    if not state["relay_running"] or state["relay_last_loop_at"] is None:
        return None
    still_s = now - datetime.fromisoformat(state["relay_last_loop_at"]).timestamp()
    if still_s <= LOOP_MAX_SECONDS:
        return None
    return f"a relay runs, but its loop has not turned for {still_s:.0f} s; restart it, and keep its log"


def lines(state: dict[str, Any], *, on_demand: bool = False) -> list[str]:
    """Return the state as lines for a terminal; a relay that pushes start is not missing while it does not run."""
    stopped = "not running; a push starts it" if on_demand else "not running"
    out = [
        f"outbox   {plain(state['outbox'])}",
        f"epoch    {state['epoch'] or 'none before the first event'}",
        f"relay    {'running' if state['relay_running'] else stopped}",
        *(f"problem  {problem['name']}: {plain(problem['message'])}" for problem in state["problems"]),
        f"payloads {state['payloads_kept']} kept, {state['payload_bytes_kept']} bytes",
    ]
    for name, stream in state["streams"].items():
        if stream["broker"] is None and not stream["pending"] and not stream["buried"]:
            continue
        age = "" if stream["oldest_pending_age_s"] is None else f" (oldest {stream['oldest_pending_age_s']} s)"
        out.append(
            f"{name:8} to {stream['broker'] or 'no broker yet'}: {stream['pending']} pending{age}, "
            f"{stream['delivered']} delivered ({stream['unroutable']} to no queue), {stream['buried']} buried"
        )
        if limits := _unenforced_limits(stream["broker"]):
            out.append(f"         {limits}")
        if stream["unroutable_since"] is not None:
            out.append(
                f"         trouble: events reach no queue since {stream['unroutable_since']}: nothing is subscribed, "
                "or the exchange and its bindings were removed"
            )
        if stream["failures"]:
            out.append(f"         trouble: {stream['failures']} failures, last: {plain(stream['last_error'])}")
    if state["replays_requested"]:
        waits = "are pending" if state["relay_running"] else "are pending, and no relay runs"
        out.append(f"replays  {state['replays_requested']} {waits}")
    out += [f"source   {plain(source['source'])} at {source['sequence']}" for source in state["sources"]]
    for origin in state["origins"]:
        out.append(f"origin   {origin['kind']} {plain(origin['location'])}")
    return out


def _unenforced_limits(broker: str | None) -> str:
    """Return a note on queue limits that this broker does not enforce for a client; empty if it enforces all."""
    scheme = (broker or "").partition(":")[0]
    if scheme.endswith("+activemq"):
        return "ActiveMQ clients cannot limit their queues: only the broker's policies bound a forgotten one"
    return ""
