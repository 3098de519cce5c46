# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""AMQP 0-9-1, as RabbitMQ speaks it."""
