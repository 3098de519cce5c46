# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""STOMP 1.2, with what RabbitMQ and ActiveMQ each add to it."""
