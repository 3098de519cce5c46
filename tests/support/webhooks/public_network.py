# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A network of its own in which a receiver has public addresses, and a name that leads wherever it is written to.

It is a namespace of Linux in which nothing but the test runs; the name is in a file over /etc/hosts, so that the real
resolver of the system is asked. Run as a program, this module POSTs there and prints what came of it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Authority, Receiver, redirect

HOST = "hooks.example.org"
PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2600:1406:bc00:53::b81e:94ce"
#: What the name leads to, look by look.
LOOKS = {
    "public": (PUBLIC,),
    "loopback": ("127.0.0.1",),
    "both": (PUBLIC, "127.0.0.1"),
    "mapped": ("::ffff:127.0.0.1",),
    "metadata": ("169.254.169.254",),
    "public again": (PUBLIC,),
    "IPv6": (PUBLIC_IPV6,),
}
LIMIT_SECONDS = 120.0
_BEGIN = (
    f"ip link set lo up && ip addr add {PUBLIC}/32 dev lo && ip addr add {PUBLIC_IPV6}/128 dev lo nodad && "
    "ip addr add 169.254.169.254/32 dev lo && "
    'mount --bind "$1/hosts" /etc/hosts && mount --bind "$1/resolv.conf" /etc/resolv.conf && '
    'exec "$2" -m "$3" "$1"'
)


def can_be_made() -> bool:
    """Return whether this machine allows such a namespace."""
    if not (shutil.which("unshare") and shutil.which("ip") and Path("/etc/resolv.conf").exists()):
        return False
    done = subprocess.run(["unshare", "-rnm", "ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    return done.returncode == 0


def run(folder: Path, module: str = "support.webhooks.public_network") -> dict[str, Any]:
    """Return what a program printed there; this one, what came of one POST for each of LOOKS, and what was seen."""
    (folder / "hosts").write_text("")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    done = subprocess.run(
        ["unshare", "-rnm", "sh", "-c", _BEGIN, "sh", str(folder), sys.executable, module],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(folder: Path) -> None:
    """POST with the usual settings, by the real resolver."""
    authority = Authority(folder)
    outside = [Receiver(tls=authority.server(HOST), host=host, port=443) for host in (PUBLIC, PUBLIC_IPV6)]
    # They have the certificate of the name, so that nothing but the check of the address protects them.
    inside = [Receiver(tls=authority.server(HOST), host=host, port=443) for host in ("127.0.0.1", "169.254.169.254")]
    poster = Poster(WebhookSettings(ca_file=authority.file))
    hook = Hook(name="a", url=f"https://{HOST}/in", topics=("hg.#",))
    answers = {}
    for look, addresses in LOOKS.items():
        (folder / "hosts").write_text("".join(f"{address} {HOST}\n" for address in addresses))
        answers[look] = asdict(poster.post(hook, [new_secret()], "msg_1", b"{}", time.time()))
    (folder / "hosts").write_text(f"{PUBLIC} {HOST}\n")
    outside[0].then(redirect("https://127.0.0.1/in"))
    answers["redirect"] = asdict(poster.post(hook, [new_secret()], "msg_1", b"{}", time.time()))
    answers["silent"] = asdict(_ask_a_silent_name_server())
    requests = [request for receiver in outside for request in receiver.requests]
    seen = [(request.asked_name, request.headers["host"]) for request in requests]
    json.dump({"answers": answers, "seen": seen, "inside": [each.connections for each in inside]}, sys.stdout)


def _ask_a_silent_name_server() -> Answer:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 53))
        hook = Hook(name="a", url="https://other.example.org/in", topics=("hg.#",))
        return Poster(WebhookSettings(post_seconds=1)).post(hook, [new_secret()], "msg_1", b"{}", time.time())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
