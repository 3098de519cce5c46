# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The AMQP 0-9-1 adapter, for RabbitMQ."""
