# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Wait for a `flock` in the kernel's own queue, with a deadline: pollers overtake each other, so one may wait forever.

The kernel grants a `flock` first come, first served, and only a signal ends the wait. Therefore a thread waits with its
own descriptor; if it gets the lock after the deadline, it releases it at once.
"""

import fcntl
import os
import threading
import time
from contextlib import suppress


class Waiter:
    """One place in the queue; it is kept after a wait that timed out, and the next wait continues in it."""

    def __init__(self, fd: int) -> None:
        """Queue for the lock of the file behind a descriptor; OSError where the system does not allow that."""
        # The same file, even if its name now leads to another one.
        self._own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self._changed = threading.Condition()
        self._wanted = True
        self._over = self._holds = False
        try:
            threading.Thread(target=self._wait, name="sourcepulse-lock", daemon=True).start()
        except RuntimeError as error:
            # The interpreter is shutting down, or the system has no threads left.
            os.close(self._own)
            raise OSError(str(error)) from error

    @property
    def over(self) -> bool:
        """Whether the lock was granted, or released because no call waited for it."""
        with self._changed:
            return self._over

    def take(self, deadline: float) -> int | None:
        """Return a descriptor that holds the lock, to be closed; None if it was not granted by this monotonic time."""
        with self._changed:
            self._wanted = True
            try:
                self._changed.wait_for(lambda: self._over, max(0.0, deadline - time.monotonic()))
                return self._own if self._holds else None
            except BaseException:
                # Ctrl-C: release the lock that the thread got meanwhile.
                if self._holds:
                    os.close(self._own)
                raise
            finally:
                self._wanted = self._holds = False

    def _wait(self) -> None:
        taken = False
        with suppress(OSError):
            fcntl.flock(self._own, fcntl.LOCK_EX)
            taken = True
        with self._changed:
            self._over = True
            self._holds = taken and self._wanted
            if not self._holds:
                os.close(self._own)
            self._changed.notify_all()
