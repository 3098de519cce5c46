# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Commands for an admin that remove what is not ours; none contains a password."""

from __future__ import annotations

import shlex
from urllib.parse import quote

from sourcepulse.brokers.management.api import Management
from sourcepulse.brokers.url import host_text


def by_control(vhost: str, command: str, *words: str) -> str:
    """Return a command of rabbitmqctl, to be run at the broker."""
    return shlex.join(["rabbitmqctl", command, "-p", vhost, *words])


def by_api(api: Management, *path: str) -> str:
    """Return a command that deletes an object for which rabbitmqctl has none; curl asks for the password."""
    url = api.url
    authority = ("--cacert", ca) if (ca := url.option("ca")) else ()
    target = f"{url.scheme}://{host_text(*url.hosts[0])}{url.path}/api/" + "/".join(
        quote(word, safe="") for word in path
    )
    return shlex.join(["curl", "--fail", *authority, "--user", url.user or "admin", "--request", "DELETE", target])
