# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Forks processes of `python -m` and `-c`: `module_server.py SOCKET` has loaded what a gateway loads, but no reactor.

A gateway starts in 0.7 s of processor time, nearly all of it imports. What a forked process is not, `fork_server.py`
says; no test needs it that asks for a gateway by its address.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import socket
import sys
from pathlib import Path

#: The first argument of a request; the second one is the module, or CODE with the text of a program after it.
PROGRAM = b"python -m"
CODE = "-c"
#: What nothing may share with another process: it has descriptors from its making on.
REACTOR = "twisted.internet.reactor"
#: Which import the others that a gateway has loaded when it has served its pages, apart from those that need a reactor;
#: and what a consumer loads for its broker.
_MODULES = (
    "sourcepulse.brokers.amqp.subscription",
    "sourcepulse.brokers.file.queue_reports",
    "sourcepulse.brokers.file.subscription",
    "sourcepulse.brokers.stomp.activemq_subscription",
    "sourcepulse.brokers.stomp.rabbitmq_subscription",
    "sourcepulse.cli.main",
    "sourcepulse.cli.waiting",
    "sourcepulse.consumer.consumer",
    "sourcepulse.consumer.threads.background",
    "sourcepulse_web.command",
    "sourcepulse_web.pages.catalogue",
    "sourcepulse_web.pages.live.newest",
    "sourcepulse_web.pages.live.snippets",
    "sourcepulse_web.process.condition",
    "sourcepulse_web.process.hooks",
    "sourcepulse_web.process.listening",
    "sourcepulse_web.process.live_settings",
    "sourcepulse_web.process.reading",
    "sourcepulse_web.server.connection.channel",
    "sourcepulse_web.server.metrics",
    "sourcepulse_web.server.ready",
    "sourcepulse_web.server.request",
    "sourcepulse_web.server.routes",
    "sourcepulse_web.stream.hub",
    "sourcepulse_web.webhooks.desk.desk",
    "twisted.internet.default",
)


def main() -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[1])
    sys.path[0] = str(Path(__file__).parents[1])
    from support.hg.fork_server import serve

    for name in _MODULES:
        importlib.import_module(name)
    assert REACTOR not in sys.modules
    gc.freeze()
    listener.listen(32)
    _, module, *arguments = map(os.fsdecode, serve(listener, PROGRAM))
    if module == CODE:
        text, *arguments = arguments
        sys.argv = [CODE, *arguments]
        exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
