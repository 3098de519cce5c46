# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor asks the web gateway of the settings, if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.brokers.embedded_log import wait_until
from support.doctor import Examined, examine
from support.web.gateway import Gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with closing(Gateway(tmp_path / "gateway")) as gateway:
        gateway.configuration.write_text(f'[web]\nlisten = "127.0.0.1:{gateway.port}"\n')
        yield gateway


def of_gateway(examined: Examined) -> list[tuple[str, str]]:
    return [(each["id"], each["state"]) for each in examined.findings if each["id"] in ("SP411", "SP412")]


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
