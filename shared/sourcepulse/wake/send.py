# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Wake the process that reads a file: one datagram to the socket beside it.

A wake is only a hint. A missing, dead or full socket costs some microseconds and is never waited for; the reader polls
as well. Writers send the wake after their commit, so the reader finds what it announces.

The hook imports this: standard library only. `_socket`, because `socket` builds hundreds of enum members.
"""

import _socket
import os

#: The socket of a file has its name with this suffix.
SUFFIX = ".wake"
#: The longest path in a sockaddr_un (unix(7)).
PATH_MAX_BYTES = 107
#: More than the longest path of a place, less than a datagram may have.
PAYLOAD_MAX_BYTES = 8_192

_FILE_TYPE, _SOCKET = 0o170000, 0o140000


def wake_path(file: str | os.PathLike[str]) -> str:
    """Return the path of the socket on which the reader of a file listens; a link leads to that of the real file."""
    return os.path.realpath(file) + SUFFIX


def send_wake(path: str, payload: bytes = b"") -> bool:
    """Send one datagram to the socket at `path`, as `wake_path` returns it, and return whether a process will read it.

    An empty payload means "look at your file"; others are for the reader of that file. Never blocks, never raises for
    the state of the socket.
    """
    if len(payload) > PAYLOAD_MAX_BYTES:
        return False
    try:
        # A link could lead to the socket of any other program.
        if os.lstat(path).st_mode & _FILE_TYPE != _SOCKET:
            return False
        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    except (OSError, ValueError):
        return False
    folder = -1
    try:
        address, folder = short_path(path)
        sender.sendto(payload, address)
    except OSError:
        return False
    finally:
        sender.close()
        if folder >= 0:
            os.close(folder)
    return True


def short_path(path: str) -> tuple[str, int]:
    """Return a path that fits into a socket's address, and the descriptor that it depends on, -1 if none.

    A path that is too long is addressed through a descriptor of its folder (proc(5)); OSError if that is not possible.
    """
    if len(os.fsencode(path)) <= PATH_MAX_BYTES:
        return path, -1
    above, name = os.path.split(path)
    folder = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    short = f"/proc/self/fd/{folder}/{name}"
    if len(os.fsencode(short)) > PATH_MAX_BYTES:
        os.close(folder)
        raise OSError(f"the name has more than {PATH_MAX_BYTES} bytes with its folder")
    return short, folder
