# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An extension for hg in whose processes time stands still and chance repeats itself, so that events come out the same.

`FROZEN_SECONDS` in the environment is the time, and what chance begins with.
"""

import hashlib
import os
import random
import time

_now = float(os.environ["FROZEN_SECONDS"])
_chance = random.Random(_now)


def _bytes(count: int) -> bytes:
    return hashlib.shake_256(_chance.randbytes(16)).digest(count)


time.time = lambda: _now
random.random = _chance.random
os.urandom = _bytes
