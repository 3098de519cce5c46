# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The commands of `sourcepulse`, one module each: `HELP`, `add_arguments(parser)`, `run(args) -> exit code`."""
