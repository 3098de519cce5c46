# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The forms of a consumer in which a thread of the library keeps the connection: `run` and asyncio."""
