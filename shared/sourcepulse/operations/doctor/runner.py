# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run checks beside each other, each at most until a deadline: one that hangs becomes a finding."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence

from sourcepulse.errors import SourcePulseError
from sourcepulse.operations.doctor.finding import Finding, Job, unchecked


def run_jobs(jobs: Sequence[Job], *, limit_s: float) -> list[Finding]:
    """Return what all jobs find, in the order of the jobs, after at most `limit_s` seconds.

    What a job found before the limit is kept. The threads are daemons, because a lookup by the system cannot be
    interrupted; what they find later is dropped.
    """
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    found: list[list[Finding]] = [[] for _ in jobs]
    deadline = time.monotonic() + limit_s

    def run(number: int) -> None:
        _run(jobs[number], found[number])
        done.put(number)

    for number, job in enumerate(jobs):
        name = f"sourcepulse-doctor-{job.id}"
        threading.Thread(target=run, args=(number,), name=name, daemon=True).start()
    ended: set[int] = set()
    while len(ended) < len(jobs):
        try:
            ended.add(done.get(timeout=max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            break
    late = f"took longer than {limit_s:.3g} s"
    return [
        finding
        for number, job in enumerate(jobs)
        for finding in [*found[number], *(() if number in ended else [unchecked(job.id, job.about, late)])]
    ]


def _run(job: Job, found: list[Finding]) -> None:
    try:
        # One by one, so that what was found before an error, or before the limit, is kept.
        for finding in job.run():
            found.append(finding)
    except (SourcePulseError, OSError) as error:
        found.append(unchecked(job.id, job.about, str(error)))
    except Exception as error:  # noqa: BLE001 - a mistake in one check must not hide what the others find
        found.append(unchecked(job.id, job.about, f"the check failed: {type(error).__name__}: {error}"))
