# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The STOMP 1.2 adapter, with the extensions of RabbitMQ and ActiveMQ."""
