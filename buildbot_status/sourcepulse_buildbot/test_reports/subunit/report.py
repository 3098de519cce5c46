# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read subunit of either version: text, as `trial --reporter subunit` writes it, or packets, as stestr stores them.

In both, an expected failure is reported as skipped, an unexpected success as failed, and a test that began and never
ended as an error. Packets do not distinguish failures from exceptions, so there both are `failed`.
"""

from __future__ import annotations

from sourcepulse_buildbot.test_reports.cases import Report, ReportBuilder
from sourcepulse_buildbot.test_reports.subunit.packets import has_packets, read_packets
from sourcepulse_buildbot.test_reports.subunit.text import read_text


def read_subunit(data: bytes, builder: ReportBuilder | None = None) -> Report:
    """Return the tests of a subunit stream, which may have other output between its parts.

    With a builder, they are added to its report.
    """
    builder = builder or ReportBuilder()
    if not data.strip():
        builder.problem("the report is empty")
    elif has_packets(data):
        read_packets(data, builder)
    elif not read_text(data, builder):
        builder.problem("there is no subunit in the report")
    return builder.report()
