# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What `sourcepulse setup-broker` needs no broker for: the shipped files are its defaults, and ActiveMQ's files."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.main import main
from sourcepulse.operations.broker_setup.objects import Plan, Wanted, objects
from sourcepulse.operations.broker_setup.passwords import hashed, is_hash_of
from sourcepulse.operations.broker_setup.roles import DEFAULT_USERS

DEPLOY = Path(__file__).parents[2] / "shared" / "deploy"
BROKER = "stomps+activemq://mq.example.org?ca=/etc/ssl/ca.pem"


def test_the_shipped_definitions_are_what_it_sets_up() -> None:
    plan = Plan("sourcepulse", "sourcepulse", "sourcepulse-restricted", DEFAULT_USERS)
    shipped = json.loads((DEPLOY / "rabbitmq-definitions.json").read_text())
    made: dict[str, Any] = {"vhosts": [], "users": [], "permissions": [], "topic_permissions": [], "exchanges": []}
    made["parameters"] = []
    for wanted in objects(plan):
        _define(made, wanted, plan.vhost)
    for kind, rows in shipped.items():
        assert sorted(made[kind], key=json.dumps) == sorted(rows, key=json.dumps), kind


def _define(made: dict[str, Any], wanted: Wanted, vhost: str) -> None:
    """Add an object as RabbitMQ's definitions have it."""
    value = dict(wanted.value)
    match wanted.kind:
        case "virtual host":
            made["vhosts"].append({"name": wanted.name})
        case "user":
            made["users"].append({"name": wanted.name, "password": f"CHANGE-ME-{wanted.name}", **value})
        case "user limit":
            made["users"][-1].setdefault("limits", {})[wanted.path[-1]] = value["value"]
        case "permission" | "topic permission":
            made[f"{wanted.kind.replace(' ', '_')}s"].append({"user": wanted.name, "vhost": vhost, **value})
        case "exchange":
            made["exchanges"].append({"name": wanted.name, "vhost": vhost, **value})
        case "operator policy":
            component = {"vhost": vhost, "component": "operator_policy", "name": wanted.name}
            made["parameters"].append({**component, "value": value})
        case "limit":
            component = {"vhost": vhost, "component": "vhost-limits", "name": "limits"}
            if not any(row["name"] == "limits" for row in made["parameters"]):
                made["parameters"].append({**component, "value": {}})
            row = next(row for row in made["parameters"] if row["name"] == "limits")
            row["value"][wanted.name] = value["value"]


def test_a_hash_is_as_rabbitmq_documents_it() -> None:
    # The example of RabbitMQ's page on passwords.
    assert hashed("test12", bytes.fromhex("908dc60a")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert is_hash_of(hashed("a"), "a")
    assert not is_hash_of(hashed("a"), "b")
    assert not is_hash_of("not base64", "b")


def test_the_shipped_activemq_xml_is_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup-broker", "--broker", BROKER]) == 0
    assert capsys.readouterr().out == (DEPLOY / "activemq.xml").read_text()


def run(folder: Path, *options: str) -> int:
    return main(["setup-broker", "--broker", BROKER, "--secrets", str(folder), *options])


def test_activemqs_files_are_written_once_and_their_passwords_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--check") == 1
    assert run(tmp_path, "--apply") == 0
    xml = tmp_path / "activemq.xml"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    said = capsys.readouterr().out
    logins = dict(_logins(xml))
    assert logins.keys() == {"admin", "relay", "restricted-relay", "reader", "restricted-reader"}
    for name, password in logins.items():
        url = BrokerUrl.parse((tmp_path / f"{name}.broker").read_text())
        assert (url.user, url.password, url.option("ca")) == (name, password, "/etc/ssl/ca.pem")
        assert password not in said
    # The admin writes the password of the key store into it.
    text = xml.read_text()
    xml.write_text(text.replace("CHANGE-ME-keystore", "of-the-store"))
    assert run(tmp_path, "--check") == 0
    assert run(tmp_path, "--apply") == 0


def test_another_activemq_xml_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--apply") == 0
    xml = tmp_path / "activemq.xml"
    by_hand = xml.read_text().replace("10 gb", "20 gb")
    xml.write_text(by_hand)
    assert run(tmp_path, "--apply") == 1
    assert "compare, move it, restart" in capsys.readouterr().out
    assert xml.read_text() == by_hand
    assert "10 gb" in (tmp_path / "activemq.xml.new").read_text()


def test_a_new_password_of_activemq_is_in_both_files(tmp_path: Path) -> None:
    assert run(tmp_path, "--apply") == 0
    former = dict(_logins(tmp_path / "activemq.xml"))
    assert run(tmp_path, "--apply", "--rotate", "reader") == 1
    new = dict(_logins(tmp_path / "activemq.xml.new"))
    assert {name for name in new if new[name] != former[name]} == {"reader"}
    assert BrokerUrl.parse((tmp_path / "reader.broker").read_text()).password == new["reader"]


def _logins(xml: Path) -> Iterator[tuple[str, str]]:
    for user in ElementTree.parse(xml).iterfind(".//{*}authenticationUser"):
        yield user.attrib["username"], user.attrib["password"]
