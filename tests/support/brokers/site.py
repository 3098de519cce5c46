# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A virtual host that `sourcepulse setup-broker` sets up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import amqp
import pytest

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.main import main
from support.brokers.rabbitmq import ADMIN, RabbitNode

ROLES = ("publisher", "restricted-publisher", "consumer", "restricted-consumer", "monitor")
#: It is made only where it is named.
SENDER_ROLE = "webhook-publisher"
PUBLIC, RESTRICTED = "sourcepulse", "sourcepulse-restricted"


@dataclass(frozen=True)
class Site:
    """A virtual host that is set up, or will be, and its users: each is called as the virtual host and its role."""

    node: RabbitNode
    folder: Path
    vhost: str

    def run(self, *options: str, login: tuple[str, str] = ADMIN, users: tuple[str, ...] = ROLES) -> int:
        """Run the command."""
        management = self.folder / "management"
        management.touch(0o600)
        management.write_text(self.node.management_url(login))
        broker = f"amqp://127.0.0.1:{self.node.port}/{self.vhost}"
        named = [f"--user={role}={self.user(role)}" for role in users]
        return main(
            ["setup-broker", "--broker", broker, "--management-url-file", str(management),
             "--secrets", str(self.folder), *named, *options]
        )  # fmt: skip

    def user(self, role: str) -> str:
        return f"{self.vhost}-{role}"

    def file(self, role: str) -> Path:
        return self.folder / f"{self.user(role)}.{'management' if role == 'monitor' else 'broker'}"

    def url(self, role: str) -> BrokerUrl:
        return BrokerUrl.parse(self.file(role).read_text())

    @property
    def api(self) -> Management:
        return Management(BrokerUrl.parse_management(self.node.management_url()))

    def states(self, capsys: pytest.CaptureFixture[str], *options: str, code: int) -> dict[tuple[str, str], str]:
        """Run it and return the state of each object, by its kind and name without the virtual host."""
        capsys.readouterr()
        assert self.run("--json", *options) == code
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {(line["kind"], line["name"].removeprefix(f"{self.vhost}-")): line["state"] for line in lines}

    def channel(self, role: str) -> amqp.Channel:
        """Return a channel of a user, for what our library would never do."""
        url = self.url(role)
        connection = amqp.Connection(f"127.0.0.1:{self.node.port}", url.user, url.password, virtual_host=self.vhost)
        connection.connect()
        channel: amqp.Channel = connection.channel()
        channel.confirm_select()
        return channel


def site_of(node: RabbitNode, folder: Path, vhost: str) -> Iterator[Site]:
    """Yield a site and remove it."""
    site = Site(node, folder, vhost)
    try:
        yield site
    finally:
        node.delete("vhosts", vhost)
        for role in (*ROLES, SENDER_ROLE):
            node.delete("users", site.user(role))
