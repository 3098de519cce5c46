# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sets a broker up: what is wanted, as data; what is there; and the steps between them, one object at a time."""
