# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor asks the web gateway of the settings, if there is one."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import wait_until
from support.doctor import Examined, examine
from support.web.gateway import Gateway
from support.webhooks.hooks_of import add_hook, sender_of, state_of

GATEWAY = ("SP411", "SP412", "SP413", "SP414", "SP415")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with closing(Gateway(tmp_path / "gateway")) as gateway:
        gateway.configuration.write_text(f'[web]\nlisten = "127.0.0.1:{gateway.port}"\n')
        yield gateway


def of_gateway(examined: Examined) -> list[tuple[str, str]]:
    return [(each["id"], each["state"]) for each in examined.findings if each["id"] in GATEWAY]


def test_a_gateway_is_asked_whether_it_is_ready_and_none_where_the_settings_have_none(gateway: Gateway) -> None:
    options = ("--config", gateway.configuration, "--broker", f"file://{gateway.log}")
    found = examine(*options)
    assert of_gateway(found) == [("SP411", "broken")]
    assert "no web gateway answers at" in found.one("SP411")["found"]
    (command,) = found.repair("SP411")
    assert f"web --config {gateway.configuration} --broker file://{gateway.log}" in command
    gateway.start()
    assert of_gateway(examine(*options)) == [("SP411", "ok")]
    # While it runs, its settings become wrong in a way that the doctor's own do not.
    gateway.configuration.write_text(gateway.configuration.read_text() + "keep_hours = 0\n")
    wait_until(lambda: gateway.get("/ready").document["warnings"])
    found = examine(*options)
    assert of_gateway(found) == [("SP412", "warning")]
    assert "keep_hours" in found.one("SP412")["found"]
    assert found.repair("SP412") == [f"curl -s http://127.0.0.1:{gateway.port}/ready"]
    gateway.configuration.write_text("")
    assert of_gateway(examine(*options)) == []


def test_webhooks_are_looked_at_their_sender_their_store_and_parked_ones(gateway: Gateway, tmp_path: Path) -> None:
    on = f"{gateway.configuration.read_text()}[webhooks]\n"
    gateway.configuration.write_text(on)
    options = ("--config", gateway.configuration, "--broker", f"file://{gateway.log}")
    gateway.start()
    sender_of(gateway)
    assert of_gateway(examine(*options)) == [("SP411", "ok"), ("SP413", "ok")]
    add_hook(gateway, "room", "https://chat.example.org/in/7")
    with HookStore(gateway.folder / "webhooks.db") as store:
        store.set_standing("room", Standing(state=State.PARKED, reason="the receiver answered 503"))
    wait_until(lambda: state_of(gateway)["parked"] == 1)
    found = examine(*options)
    assert of_gateway(found) == [("SP415", "warning"), ("SP411", "ok")]
    assert "1 webhook is parked; nothing is POSTed there" in found.one("SP415")["found"]
    (command,) = found.repair("SP415")
    listed = subprocess.run([*shlex.split(command), "--json"], check=True, capture_output=True, text=True)
    assert json.loads(listed.stdout)["state"] == "parked"
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 100)
    damaged.chmod(0o600)
    gateway.configuration.write_text(f'{on}file = "{damaged}"\n')
    wait_until(lambda: all(state_of(gateway)[each] for each in ("sender_problem", "store_problem")))
    found = examine(*options)
    assert of_gateway(found) == [("SP413", "broken"), ("SP414", "broken")]
    assert all(str(damaged) in found.one(each)["found"] for each in ("SP413", "SP414"))
    assert found.repair("SP413") == [f"curl -s http://127.0.0.1:{gateway.port}/ready"]
