# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Show whether events flow: what is pending, where it goes, what failed and where it comes from.

The first line says whether all is well. With --check it is a plug-in for Nagios and its like: one line, and exit code
0, 1, 2 or 3. With --prometheus it prints metrics in the text format 0.0.4.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sourcepulse.cli.common import add_json, add_settings, open_outbox, print_json, seconds, settings
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_OK, ConfigError, SourcePulseError
from sourcepulse.operations.status.check import check_line, head, limited
from sourcepulse.operations.status.state import read_state
from sourcepulse.operations.status.text import lines
from sourcepulse.operations.status.verdict import CRITICAL_SECONDS, WARNING_SECONDS, Level, Limits
from sourcepulse.operations.status.watch import watch
from sourcepulse.relay.health.best_effort.metrics_file import current_metrics

HELP = "show whether events flow: what is pending, sent and failed"

INTERVAL_SECONDS = 2.0
_LEAST_INTERVAL_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    add_settings(parser, "outbox")
    forms = parser.add_mutually_exclusive_group()
    add_json(forms, "one JSON object (schema: status.v1)")
    forms.add_argument("--watch", action="store_true", help="show it again and again until Ctrl-C")
    forms.add_argument("--check", action="store_true", help="one line for Nagios: exit code 0, 1, 2 or 3, and figures")
    forms.add_argument("--prometheus", action="store_true", help="metrics in Prometheus's text format")
    parser.add_argument(
        "--interval", type=seconds, default=INTERVAL_SECONDS, metavar="SECONDS",
        help=f"between two views of --watch (default: {INTERVAL_SECONDS:g})",
    )  # fmt: skip
    for name, default in (("warning", WARNING_SECONDS), ("critical", CRITICAL_SECONDS)):
        parser.add_argument(
            f"--{name}", type=seconds, default=default, metavar="SECONDS",
            help=f"the age of the oldest pending event above which the state is {name} (default: {default:g})",
        )  # fmt: skip
    parser.add_argument(
        "--per-source", action="store_true", help="with --prometheus, name up to 100 sources, and the sum of the others"
    )


def run(args: argparse.Namespace) -> int:
    """Print the state of the outbox in the form that was asked for."""
    if args.check:
        return _check(args)
    config, limits = settings(args), _limits(args)
    if args.watch:
        watch(_View(config, limits).lines, max(args.interval, _LEAST_INTERVAL_SECONDS))
    with open_outbox(config) as outbox:
        if args.prometheus:
            per_source = args.per_source or config.text("metrics_per_source") == "yes"
            # In UTF-8 in every locale, as the format asks.
            sys.stdout.buffer.write(current_metrics(outbox, per_source=per_source).encode())
            return EXIT_OK
        state = read_state(outbox)
    if args.json:
        print_json(state)
    else:
        print("\n".join(lines(state, limits)))
    return EXIT_OK


def _limits(args: argparse.Namespace) -> Limits:
    if args.warning > args.critical:
        raise ConfigError(f"--warning {args.warning:g} must not be above --critical {args.critical:g}")
    return Limits(args.warning, args.critical)


def _check(args: argparse.Namespace) -> int:
    try:
        with limited():
            limits = _limits(args)
            with open_outbox(settings(args)) as outbox:
                level, line = check_line(read_state(outbox), limits)
    except SourcePulseError as error:
        explanation = args.explain(error)
        level = Level.UNKNOWN
        line = head(level, f"{error}{explanation and f' ({explanation})'}")
    except Exception as error:  # noqa: BLE001 - a monitor shows the line, and takes a stack trace for CRITICAL
        level = Level.UNKNOWN
        line = head(level, f"the state could not be read: {type(error).__name__}: {error}")
    print(line)
    return level


class _View:
    """Reads the state again for each view; an outbox that cannot be read is a view as well."""

    def __init__(self, config: Config, limits: Limits) -> None:
        self._config = config
        self._limits = limits
        self._before: dict[str, Any] | None = None

    def lines(self) -> list[str]:
        try:
            with open_outbox(self._config) as outbox:
                state = read_state(outbox)
        except SourcePulseError as error:
            self._before = None
            return [f"unknown: {error}"]
        before, self._before = self._before, state
        return lines(state, self._limits, before=before)
