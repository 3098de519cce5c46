# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The command beside a real gateway, as an admin types it, each time in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.web.gateway import Gateway, MakeGateway
from support.webhooks.hooks_of import ids_of, sender_of
from support.webhooks.receiver import Receiver

LIMIT_SECONDS = 60.0
#: Runs the command and prints on stderr which of these were loaded.
PROGRAM = """
import sys
from sourcepulse.cli.main import main
code = main(sys.argv[1:])
print("loaded", sorted({"twisted", "jinja2", "kombu", "stomp"} & set(sys.modules)), file=sys.stderr)
raise SystemExit(code)
"""


def webhook(gateway: Gateway, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    place = ["--config", str(gateway.configuration), "--broker", f"file://{gateway.log}"]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "webhook", action, *place, *arguments],
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip


def test_an_admin_adds_tests_and_watches_a_webhook_of_a_running_gateway(make_gateway: MakeGateway) -> None:
    with Receiver() as receiver:
        gateway = make_gateway(configuration=f'[webhooks]\nallow = ["{receiver.allowed}"]\n')
        gateway.start()
        sender_of(gateway)
        added = webhook(gateway, "add", "chat-room", receiver.url, "--topic", "system.#")
        assert added.returncode == 0, added.stderr
        assert added.stdout.startswith("whsec_")
        assert "the sender does not run" not in added.stderr
        tested = webhook(gateway, "test", "chat-room")
        assert (tested.returncode, tested.stdout[:9]) == (0, "204 after"), tested.stderr
        sent = gateway.append(*map(system_event, range(3)))
        receiver.wait_for(4)
        assert ids_of([each.body for each in receiver.requests[1:]]) == [each.id for each in sent]

        def delivered() -> bool:
            listed = webhook(gateway, "list", "--json")
            return listed.returncode == 0 and json.loads(listed.stdout)["delivered"] == 3

        wait_until(delivered, LIMIT_SECONDS)
        again = webhook(gateway, "redeliver", "chat-room", sent[1].id)
        assert again.stdout == "1 event will be POSTed again to chat-room\n"
        assert again.stderr == "loaded []\n"
        receiver.wait_for(5)
        refused = webhook(gateway, "add", "inside", "http://169.254.169.254/latest/meta-data", "--topic", "#")
        assert refused.returncode == 2
        assert refused.stderr.startswith("sourcepulse: the URL of a webhook begins with https://")
