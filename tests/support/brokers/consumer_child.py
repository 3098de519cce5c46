# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer as a program: prints each event that it begins to handle, and ends as the test asks."""

from __future__ import annotations

import json
import os
import sys
import time

from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits

#: Until it is killed.
HANGS_SECONDS = 1000


def main() -> None:
    options = json.loads(sys.argv[1])
    dies_at, hangs_at = options.pop("dies_at"), options.pop("hangs_at")
    limits = QueueLimits(**options.pop("limits"))
    # The URL holds a password, and every user may read an argument.
    with Consumer(os.environ["BROKER_URL"], limits=limits, **options) as consumer:
        print("ready", flush=True)
        for event in consumer:
            number = event.data["number"]
            print(number, flush=True)
            if number == dies_at:
                os._exit(1)
            if number == hangs_at:
                time.sleep(HANGS_SECONDS)
    print("left", flush=True)


if __name__ == "__main__":
    main()
