# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A broker that a real master renders, at a reconfig: corrected, unchanged, rotated, or with its provider away."""

from __future__ import annotations

from pathlib import Path

from sourcepulse import Consumer
from support.brokers.embedded_log import wait_until
from support.buildbot.masters import MakeMaster, Master

LIMIT_SECONDS = 30.0
HEARTBEAT = "system.relay.heartbeat.v1"
PASSWORD = "pa55word-of-master-cfg"
#: The provider reads its file whenever it is asked.
PROVIDER = """
import os
from buildbot.secrets.providers.base import SecretProviderBase
class Files(SecretProviderBase):
    name = "files"
    def get(self, entry):
        path = os.path.join({folder!r}, entry)
        return open(path).read() if os.path.exists(path) else None
c["secretsProviders"] = [Files()]
builder("b", "echo one")
def publish(name, **more):
    c["services"].append(reporters.PulseStatusPush(name=name, outbox="outbox.db", **more))
"""


def test_a_corrected_broker_is_used_after_a_reconfig_and_is_in_no_log(make_master: MakeMaster, tmp_path: Path) -> None:
    head = PROVIDER.format(folder=str(tmp_path))
    (tmp_path / "pulse").write_text(str(tmp_path / "log.db"), encoding="utf-8")
    master = make_master(head + 'publish("ci", broker=util.Interpolate("file://%(secret:plse)s"))\n')
    master.start()
    assert "secret key plse is not found in any provider" in master.log()
    url = 'broker=util.Interpolate("file://%(secret:pulse)s")'
    _reconfigure(master, head + f'publish("ci", {url}, heartbeat_s=1, metrics_file="sourcepulse.prom")\n')
    with _subscribed(tmp_path / "log.db") as consumer, _subscribed(tmp_path / "log.db", "system.#") as operator:
        master.build("b", revision="corrected")
        assert consumer.receive(LIMIT_SECONDS) is not None
        assert next(event for event in operator if event.type == HEARTBEAT and event.data["sources"])
    wait_until((master.folder / "sourcepulse.prom").exists)
    other = f'publish("ci", broker=util.Interpolate("file://{tmp_path}/other.db"))\n'
    _reconfigure(master, head + f'publish("ci", broker="file://{tmp_path}/text.db")\n')
    _wait_for_refusal(master, "text.db")
    _reconfigure(master, head + other)
    _wait_for_refusal(master, "other.db")
    secret = f'broker="amqp://relay:{PASSWORD}@127.0.0.1:1/"'
    for exchange in ("sourcepulse", "another"):
        both = f'publish("ci", {secret})\npublish("second", {secret}, exchange="{exchange}")\n'
        _reconfigure(master, head + both)
    assert "is also used by the reporter" in master.log()
    assert PASSWORD not in master.log()


def test_a_reporter_relays_at_each_reconfig_while_the_secret_provider_is_away(
    make_master: MakeMaster, tmp_path: Path
) -> None:
    head = PROVIDER.format(folder=str(tmp_path))
    secret = tmp_path / "pulse"
    secret.write_text(f"file://{tmp_path}/log.db", encoding="utf-8")
    # Two reporters may share an outbox if both have the same secret.
    both = 'publish("ci", broker=util.Secret("pulse"))\npublish("second", broker=util.Secret("pulse"))\n'
    master = make_master(head + both)
    master.start()
    with _subscribed(tmp_path / "log.db") as consumer:
        master.build("b", revision="before")
        assert {_received(consumer), _received(consumer)} == {"buildbot://ci", "buildbot://second"}
        secret.unlink()
        for number, config in enumerate((both, both.replace('"))', '"), detail="steps")'))):
            _reconfigure(master, head + config)
            master.build("b", revision=f"away{number}")
            assert {_received(consumer), _received(consumer)} == {"buildbot://ci", "buildbot://second"}
    assert "secret key pulse is not found in any provider" in master.log()
    assert "the last known URL is used" in master.log()
    secret.write_text(f"file://{tmp_path}/rotated.db", encoding="utf-8")
    master.do("reconfig")
    _wait_for_refusal(master, "rotated.db")
    # Both change to another place, one after the other.
    (tmp_path / "new").write_text(f"file://{tmp_path}/elsewhere.db", encoding="utf-8")
    _reconfigure(master, head + both.replace("pulse", "new"))
    _wait_for_refusal(master, "elsewhere.db")
    assert "different place" not in master.log()


def _reconfigure(master: Master, config: str) -> None:
    master.configure(config)
    master.do("reconfig")


def _subscribed(log: Path, topic: str = "build.finished.#") -> Consumer:
    return Consumer(f"file://{log}", [topic], timeout=LIMIT_SECONDS)


def _received(consumer: Consumer) -> str:
    event = consumer.receive(LIMIT_SECONDS)
    assert event is not None
    consumer.acknowledge()
    return event.source


def _wait_for_refusal(master: Master, place: str) -> None:
    """Wait until the relay refuses to send elsewhere what another broker has confirmed so far."""
    master.wait_for(lambda: "the relay does not run" in (log := master.log()) and place in log)
