# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What operators use to see and repair an installation: checks, figures, queues, the set-up of a broker."""
