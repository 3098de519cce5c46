# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run every measurement: medians with 95 % intervals, and beside them the goals and whether the medians meet them."""

from __future__ import annotations

from bench import (
    backlog,
    board,
    bugzilla,
    buildbot,
    buildbot_api,
    consumer,
    doctor,
    hg_peers,
    hg_push,
    latency,
    latency_of_sources,
    log,
    outbox,
    relay,
    stats,
    status,
    stomp,
    web,
    webhooks,
    writers,
)

if __name__ == "__main__":
    stats.head()
    latency.main()
    latency_of_sources.main()
    outbox.main()
    log.main()
    writers.main()
    relay.main()
    backlog.main()
    doctor.main()
    status.main()
    stomp.main()
    consumer.main()
    hg_push.main()
    hg_peers.main()
    buildbot.main()
    buildbot_api.main()
    bugzilla.main()
    web.main()
    board.main()
    webhooks.main()
