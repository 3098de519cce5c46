# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Forks hg processes: `fork_server.py SOCKET HG` has loaded what every command of this hg loads, and nothing of ours.

Half of a test's time would else pass with loading the same two hundred modules. A request has arguments, environment,
folder, umask and the three standard descriptors; a forked process becomes what `exec` would have made of them, and
loads its configuration, extensions and repository itself. The server ends when its standard input is closed.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import select
import socket
import sys
import threading
import time
from contextlib import suppress

STANDARD_FDS = 3
HIGHEST_FD = 65_536
REQUEST_BYTES = 200_000

#: What Python and Mercurial read once, at their start: a request that differs from the server in one is refused.
READ_AT_START = (b"HGDEMANDIMPORT", b"HGENCODING", b"HGMODULEPOLICY", b"LANG", b"LC_", b"LD_", b"PYTHON")

#: Loaded by a commit, a log, a push and its server; that of hg loads some of them only when it needs them.
_MODULES = (
    "__version__ admin.chainsaw admin_commands ancestor bookmarks branching branching.rev_cache branchmap bundle2 "
    "bundle2_part_handlers changegroup changelog cmdutil color commands commit config configuration.rcutil context "
    "copies dagop debugcommands destutil diffutil dirstate dirstateguard dirstateutils.timestamp discovery dispatch "
    "exchange extensions fancyopts filelog formatter hgweb.common hgweb.webcommands hook initialization localrepo "
    "lock logcmdutil main_script.cmd_finder main_script.options main_script.paths manifest match mdiff merge "
    "merge_utils.update mergestate mergeutil metadata namespaces narrowspec obsolete obsutil patch pathutil phases "
    "profiling progress pushkey rcutil registrar repair repo.factory repo.requirements repo.vfs_options repoview "
    "revlog revlogutils.concurrency_checker revlogutils.config revlogutils.deltas revlogutils.flagutil "
    "revlogutils.nodemap revlogutils.randomaccessfile revlogutils.rewrite revlogutils.sidedata revset "
    "revset_predicates scmutil setdiscovery smartset sparse sshpeer statichttprepo store streamclone strip subrepo "
    "subrepoutil tags templatekw templater templateutil testing transaction txnutil ui upgrade url util "
    "utils.dag_util utils.dateutil utils.repoviewutil utils.storageutil utils.stringutil utils.urlutil vfs "
    "wireprotoserver wireprotov1peer wireprotov1server worker"
)
#: What those need of Python's own.
_PYTHON_MODULES = "getopt mimetypes mmap pdb pkgutil queue textwrap xml.dom"


def main() -> None:
    path, hg = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    # As in the program itself, whose first folder of modules is its own.
    sys.path[0] = os.path.dirname(hg)
    import hgdemandimport

    hgdemandimport.enable()
    from mercurial import dispatch, pycompat

    for name in [*_PYTHON_MODULES.split(), *(f"mercurial.{name}" for name in _MODULES.split())]:
        # No version has all of them; the attribute makes Mercurial's import on demand load it.
        with suppress(ImportError):
            _ = importlib.import_module(name).__doc__
    gc.freeze()
    listener.listen(32)
    arguments = serve(listener, os.fsencode(hg))
    sys.modules["__main__"].__file__ = hg
    sys.argv = [os.fsdecode(argument) for argument in arguments]
    pycompat.sysargv[:] = arguments
    try:
        dispatch.run()
    except SystemExit as end:
        _end(end.code)


def _end(code: object) -> None:
    """End as the interpreter does, except that nothing of what was loaded before the fork is taken apart.

    That alone would copy every page of it, which is half the time of a short command.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    # What else the command left behind: an object may have something to do at its end.
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0)


def serve(listener: socket.socket, program: bytes) -> list[bytes]:
    """Fork for each request of this program until the input ends; return its arguments in the forked process."""
    print("ready", flush=True)
    own = _read_at_start(dict(os.environb)), _umask()
    running: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                os._exit(0)
            elif fd in running:
                poll.unregister(fd)
                os.close(fd)
                pid, connection = running.pop(fd)
                _answer(connection, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                connection.close()
            else:
                connection, _address = listener.accept()
                message, fds, _flags, _sender = socket.recv_fds(connection, REQUEST_BYTES, STANDARD_FDS)
                pid = None
                if len(fds) == STANDARD_FDS:
                    arguments, environ, folder, umask = marshal.loads(message)
                    if arguments[0] == program and own == (_read_at_start(environ), umask):
                        pid = os.fork()
                if pid == 0:
                    listener.detach()
                    for one in (connection, *(other for _, other in running.values())):
                        one.detach()
                    _become(fds, environ, folder)
                    return arguments
                for opened in fds:
                    os.close(opened)
                _answer(connection, pid or 0)
                if pid:
                    ended = os.pidfd_open(pid)
                    running[ended] = pid, connection
                    poll.register(ended, select.POLLIN)
                else:
                    connection.close()


def _become(fds: list[int], environ: dict[bytes, bytes], folder: bytes) -> None:
    for fd, standard in zip(fds, range(STANDARD_FDS), strict=True):
        os.dup2(fd, standard)
    os.closerange(STANDARD_FDS, HIGHEST_FD)
    os.environ.clear()
    os.environb.update(environ)
    os.chdir(folder)
    time.tzset()


def _read_at_start(environ: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in environ.items() if name.startswith(READ_AT_START)}


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _answer(connection: socket.socket, number: int) -> None:
    # The other end may have died.
    with suppress(OSError):
        connection.send(str(number).encode())


if __name__ == "__main__":
    main()
