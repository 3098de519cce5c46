# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A sender in the network of `public_network`, where the name of a receiver leads to loopback at its second look."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from support.webhooks.public_network import HOST, PUBLIC
from support.webhooks.receiver import Authority, Receiver
from support.webhooks.rig import Rig

HTTPS = 443


def main(folder: Path) -> None:
    """Publish before, while and after the name leads inside, and print what came of it."""
    authority = Authority(folder)
    inside = Receiver(tls=authority.server(HOST), host="127.0.0.1", port=HTTPS)
    lead_to(folder, PUBLIC)
    with Rig(folder, allow=("127.0.0.1",), ca_file=authority.file) as rig:
        room = rig.hook("room", url=f"https://{HOST}/in", tls=authority.server(HOST), host=PUBLIC, port=HTTPS)
        other = rig.hook("other")
        rig.start()
        sent = rig.publish(count=3)
        rig.wait_until(lambda: room.got == sent)
        lead_to(folder, "127.0.0.1")
        sent += rig.publish(count=3)
        rig.wait_until(lambda: other.got == sent and len(retries(rig)) >= 3)
        held_back = len(room.got)
        lead_to(folder, PUBLIC)
        rig.wait_until(lambda: room.got == sent)
        found = {
            "held_back": held_back,
            "got": [event.number for event in room.got],
            "inside": inside.connections,
            "reasons": sorted(set(retries(rig))),
        }
    json.dump(found, sys.stdout)


def lead_to(folder: Path, address: str) -> None:
    """Write where the name leads."""
    (folder / "hosts").write_text(f"{address} {HOST}\n", encoding="utf-8")


def retries(rig: Rig) -> list[str]:
    """Return why attempts of the hook in question failed."""
    return [attempt.reason for attempt in rig.attempts("room") if attempt.outcome == "retry"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
