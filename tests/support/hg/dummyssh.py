# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Called as `ssh HOST COMMAND`: run the command here, as sshd would, as that user."""

import os
import sys

os.environ["USER"] = "sshuser"
os.environ["LOGNAME"] = "sshuser"
os.environ["SSH_CLIENT"] = "192.0.2.7 4711 22"
os.environ["SSH_CONNECTION"] = "192.0.2.7 4711 192.0.2.1 22"
# As sshd does for a forced command; `SHELL_ACCOUNT` is of an account whose owner may run what it likes.
if "SHELL_ACCOUNT" not in os.environ:
    os.environ["SSH_ORIGINAL_COMMAND"] = sys.argv[-1]
os.execv("/bin/sh", ["sh", "-c", sys.argv[-1]])
