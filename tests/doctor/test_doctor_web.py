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
from typing import Any

import pytest

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import VHOST, RabbitNode
from support.doctor import Examined, examine
from support.web.gateway import Gateway
from support.webhooks.hooks_of import add_hook, sender_of, state_of

GATEWAY = ("SP411", "SP412", "SP413", "SP414", "SP415", "SP416")
NO_RIGHTS = {"configure": "^$", "write": "^$", "read": "^$"}


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
    assert "no webhook is POSTed" in found.one("SP411")["consequence"]
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
    named = "1 webhook is parked; nothing is POSTed there: room (the receiver answered 503)"
    assert named == found.one("SP415")["found"]
    command, shows = found.repair("SP415")
    assert "webhook show room" in shows
    listed = subprocess.run([*shlex.split(command), "--json"], check=True, capture_output=True, text=True)
    assert json.loads(listed.stdout)["state"] == "parked"
    with HookStore(gateway.folder / "webhooks.db") as store:
        store.set_standing("room", Standing(state=State.OFF, reason="the receiver answered 410"))
    wait_until(lambda: state_of(gateway)["off"] == 1)
    found = examine(*options)
    # A receiver is somebody else's.
    assert of_gateway(found) == [("SP416", "warning"), ("SP411", "ok"), ("SP413", "ok")]
    assert found.one("SP416")["found"].endswith("1 switched off by the receiver: room (the receiver answered 410)")
    shown = subprocess.run(shlex.split(found.repair("SP416")[1]), check=True, capture_output=True, text=True)
    assert "off, because the receiver answered 410" in shown.stdout
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database" * 100)
    damaged.chmod(0o600)
    gateway.configuration.write_text(f'{on}file = "{damaged}"\n')
    wait_until(lambda: all(state_of(gateway)[each] for each in ("sender_problem", "store_problem")))
    found = examine(*options)
    assert of_gateway(found) == [("SP413", "broken"), ("SP414", "broken")]
    assert all(str(damaged) in found.one(each)["found"] for each in ("SP413", "SP414"))
    assert found.repair("SP413") == [f"curl -s http://127.0.0.1:{gateway.port}/ready"]


def test_a_gateways_login_at_a_broker_is_looked_at_as_one_that_reads(
    gateway: Gateway, rabbitmq: RabbitNode, tmp_path: Path
) -> None:
    api = Management(BrokerUrl.parse_management(rabbitmq.management_url()))
    good = {"configure": r"^(web\..*|temporary-.*)$", "read": r"^(sourcepulse|web\..*|temporary-.*)$"}
    rights = {"web": {**good, "write": good["configure"]}, "webhooks": {**NO_RIGHTS, "write": "^sourcepulse$"}}
    for user, right in rights.items():
        api.put("users", user, value={"password": f"{user}-s3cret", "tags": ""})
        api.put("permissions", VHOST, user, value=right)
        (tmp_path / user).touch(0o600)
        (tmp_path / user).write_text(rabbitmq.url((user, f"{user}-s3cret")))
    table = f'[webhooks]\nbroker_file = "{tmp_path / "webhooks"}"\n'
    gateway.configuration.write_text(f"{gateway.configuration.read_text()}{table}")

    def at_broker() -> list[dict[str, Any]]:
        found = examine("--config", gateway.configuration, "--broker-file", tmp_path / "web")
        return [each for each in found.findings if each["id"].startswith(("SP2", "SP3"))]

    queues = api.get("queues", VHOST)
    well = [each["found"] for each in at_broker() if each["state"] == "ok"]
    assert [each.partition("may ")[2] for each in well] == ["read there", "publish there what happens to hooks"]
    assert len(at_broker()) == 2
    for name in good:
        api.put("permissions", VHOST, "web", value={**rights["web"], name: "^$"})
        (refused,) = [each for each in at_broker() if each["state"] == "broken"]
        assert refused["id"] == "SP312"
        # The command is the whole right of a consumer, never that of a relay, which reads nothing.
        assert shlex.split(refused["repair"][1])[-3:] == [good["configure"], good["configure"], good["read"]]
    api.put("permissions", VHOST, "web", value=rights["web"])
    api.put("permissions", VHOST, "webhooks", value=NO_RIGHTS)
    (refused,) = [each for each in at_broker() if each["state"] == "broken"]
    assert (refused["id"], shlex.split(refused["repair"][1])[4]) == ("SP305", "webhooks")
    assert {each["name"] for each in api.get("queues", VHOST)} == {each["name"] for each in queues}
