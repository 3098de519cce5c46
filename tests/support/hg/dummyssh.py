# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Called as `ssh HOST COMMAND`: run the command here, as sshd would, as that user.

With `FORK_SERVER` in the environment, a socket's path, an hg without anything to quote is forked there. `SERVER_PID`
is a file that gets the command's process id, for who wants to kill it.
"""

import os
import sys

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /_.-:=+,@%")


def note(pid: int) -> None:
    if "SERVER_PID" in os.environ:
        with open(os.environ["SERVER_PID"], "w") as file:
            file.write(f"{pid}\n")


command = sys.argv[-1]
os.environ["USER"] = "sshuser"
os.environ["LOGNAME"] = "sshuser"
os.environ["SSH_CLIENT"] = "192.0.2.7 4711 22"
os.environ["SSH_CONNECTION"] = "192.0.2.7 4711 192.0.2.1 22"
# As sshd does for a forced command; `SHELL_ACCOUNT` is of an account whose owner may run what it likes.
if "SHELL_ACCOUNT" not in os.environ:
    os.environ["SSH_ORIGINAL_COMMAND"] = command
if os.environ.get("FORK_SERVER") and _PLAIN.issuperset(command):
    from fork_client import Forked

    words = [word.encode() for word in command.split(" ")]
    forked = Forked(os.environ["FORK_SERVER"], words, dict(os.environb), os.getcwdb(), (0, 1, 2))
    if forked.pid:
        note(forked.pid)
        code = forked.wait()
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)
note(os.getpid())
os.execv("/bin/sh", ["sh", "-c", f"exec {command}" if "SERVER_PID" in os.environ else command])
