# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""RabbitMQ's management API: what AMQP does not show, such as queues of others, users and rights."""
