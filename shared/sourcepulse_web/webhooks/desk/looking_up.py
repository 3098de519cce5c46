# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether the host of a new URL is found, and whether its addresses are allowed; looked up when it is registered."""

from __future__ import annotations

import time

from sourcepulse.brokers import bounded_socket
from sourcepulse_web.webhooks.errors import NoAnswerError
from sourcepulse_web.webhooks.post.address import Lookup, resolve
from sourcepulse_web.webhooks.post.url import check_url
from sourcepulse_web.webhooks.settings import WebhookSettings

LOOK_UP_SECONDS = 5.0


def look_up(
    url: str,
    settings: WebhookSettings,
    deadline: float | None = None,
    lookup: Lookup = bounded_socket.resolve,
) -> str:
    """Return a sentence if the host of a URL is not found before a deadline (monotonic), else "".

    ConfigError if the URL is wrong, AddressRefusedError if the host has an address that may not be reached. A host that
    is not found is no error, because a receiver may be set up after its hook.
    """
    target = check_url(url, settings)
    try:
        resolve(target, time.monotonic() + LOOK_UP_SECONDS if deadline is None else deadline, lookup)
    except NoAnswerError as error:
        return f"{error}; events wait until it is found"
    return ""
