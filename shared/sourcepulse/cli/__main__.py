# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run the program `sourcepulse` as `python -m sourcepulse.cli` where its script is not on the path."""

import sys

from sourcepulse.cli.main import main

sys.exit(main())
