# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Called as `ssh HOST COMMAND`: run the command here, as sshd would, as that user."""

import os
import sys

os.environ["USER"] = "sshuser"
os.environ["LOGNAME"] = "sshuser"
os.environ["SSH_CLIENT"] = "192.0.2.7 4711 22"
os.environ["SSH_CONNECTION"] = "192.0.2.7 4711 192.0.2.1 22"
os.execv("/bin/sh", ["sh", "-c", sys.argv[-1]])
