# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run every measurement: medians with 95 % intervals, and the goals beside them."""

from __future__ import annotations

from bench import hg_push, outbox, relay

if __name__ == "__main__":
    print(f"{'figure':58} {'median [95 % interval]':28} goal")
    outbox.main()
    relay.main()
    hg_push.main()
