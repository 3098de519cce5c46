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

    The threads are daemons, because a lookup by the system cannot be interrupted; what they find later is dropped.
    """
    answers: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()
    deadline = time.monotonic() + limit_s
    for number, job in enumerate(jobs):
        threading.Thread(
            target=lambda number=number, job=job: answers.put((number, _run(job))),
            name=f"sourcepulse-doctor-{job.id}",
            daemon=True,
        ).start()
    found: dict[int, list[Finding]] = {}
    while len(found) < len(jobs):
        try:
            number, findings = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[number] = findings
    late = f"took longer than {limit_s:g} s"
    return [
        finding
        for number, job in enumerate(jobs)
        for finding in found.get(number, [unchecked(job.id, job.about, late)])
    ]


def _run(job: Job) -> list[Finding]:
    found: list[Finding] = []
    try:
        # One by one, so that what was found before an error is kept.
        for finding in job.run():
            found.append(finding)
    except (SourcePulseError, OSError) as error:
        found.append(unchecked(job.id, job.about, str(error)))
    except Exception as error:  # noqa: BLE001 - a mistake in one check must not hide what the others find
        found.append(unchecked(job.id, job.about, f"the check failed: {type(error).__name__}: {error}"))
    return found
