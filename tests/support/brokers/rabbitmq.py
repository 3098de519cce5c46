# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A private RabbitMQ node from Debian's package: free loopback ports, own data, own epmd, stopped by process id."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import amqp
import trustme

from support.brokers.erlang import evaluate, evaluate_json
from support.component import require
from support.streams.freeze import stop_threads

START_LIMIT_SECONDS = 90
START_ATTEMPTS_MAX = 2
SERVER_PORTS = (10_000, 32_000)
PORT_ATTEMPTS_MAX = 1_000
STOP_LIMIT_SECONDS = 30
#: How old the figures of the management API are at most; by itself RabbitMQ collects them every 5 s.
STATISTICS_INTERVAL_MS = 1_000
#: The node may use so much memory, and less than it always does.
MEMORY_LIMIT_BYTES, MEMORY_ALARM_BYTES = 4_000_000_000, 1_000_000
#: Erlang's disk_log writes what was declared 2 s later, so a node that is killed before has never heard of it.
DECLARATIONS_KEPT_SECONDS = 2.3

#: They wait without turning in circles, because other tests need the processor.
_SCHEDULERS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"

SCRIPTS = next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))), None)
EPMD = shutil.which("epmd") or "/usr/bin/epmd"

VHOST = "pulse"
#: Full rights, for tests that prepare something.
ADMIN = ("admin", "admin-s3cret")
#: The least that a relay needs, and the least that a consumer needs.
RELAY = ("relay", "relay-s3cret")
READER = ("reader", "reader-s3cret")
#: A consumer that may also put messages aside: dead letters are published by the nameless exchange.
KEEPER = ("keeper", "keeper-s3cret")
#: May write to the exchange, but only keys that begin with `hg`.
NARROW = ("narrow", "narrow-s3cret")

#: May look at everything with the management API, and change nothing.
MONITOR = ("monitor", "monitor-s3cret")
TAGS = {ADMIN: "administrator", MONITOR: "monitoring"}

#: There from the start, because over STOMP no client can declare an exchange.
EXCHANGES = ("sourcepulse", "sourcepulse-restricted")


def is_installed() -> bool:
    """Return whether Debian's rabbitmq-server is there."""
    return SCRIPTS is not None


def require_rabbitmq() -> None:
    """Skip the test where it is not installed; with CI set, fail it."""
    require(is_installed(), "RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")


def free_port() -> int:
    """Return a loopback port that is not in use.

    It lies below the range from which Linux takes the ports of outgoing connections: in that range, a connection of
    another test can get the port before the server for which it was chosen listens on it.
    """
    chance = random.SystemRandom()
    for _ in range(PORT_ATTEMPTS_MAX):
        port = chance.randrange(*SERVER_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port was found")


class SharedByNodes:
    """What nodes must share to know each other: the cookie, the port mapper epmd, and the CA of their certificates."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = trustme.CA()
        self._epmd_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        cookie = folder / ".erlang.cookie"
        cookie.write_text(os.urandom(10).hex())
        cookie.chmod(0o400)
        self.environ = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def start_epmd(self) -> None:
        """Start epmd, unless it runs; a node would start one that outlives it."""
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                [EPMD, "-port", str(self._epmd_port), "-address", "127.0.0.1"], env=self.environ
            )

    def close(self) -> None:
        """End epmd."""
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None


class RabbitNode:
    """One node; `start` may be called again after `kill` or `stop`, the data stays.

    With `client_cert_required` no login over TLS works without a certificate of the node's CA. `settings` are added
    to rabbitmq.conf; `shared` is what the nodes of a cluster have in common. With `management` it serves the management
    API: that costs nothing at its start, but 5 s when it is stopped as an admin would.
    """

    def __init__(
        self,
        folder: Path,
        *,
        client_cert_required: bool = False,
        settings: Mapping[str, str] | None = None,
        shared: SharedByNodes | None = None,
        management: bool = False,
    ) -> None:
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self.stomp_port, self.stomp_tls_port = free_port(), free_port()
        self.management_port, self.management_tls_port = free_port(), free_port()
        self.name = f"n{self.port}@localhost"
        self._dist_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._owns_shared = shared is None
        self._shared = shared or SharedByNodes(folder)
        self.ca = self._shared.ca
        self.ca_file = folder / "ca.pem"
        #: A certificate of the same CA for a client, and its key.
        self.client_cert_file, self.client_key_file = folder / "client.pem", folder / "client.key"
        added = {**self._management_settings(), **(settings or {})} if management else dict(settings or {})
        if client_cert_required:
            added["ssl_options.fail_if_no_peer_cert"] = "true"
        self._prepare(added)
        if management:
            (folder / "enabled_plugins").write_text(
                "[rabbitmq_management,rabbitmq_stomp,rabbitmq_shovel,rabbitmq_federation].\n"
            )

    def url(self, user: tuple[str, str] = ADMIN, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """Return the URL to log in with; with a `port` the way goes through a proxy there."""
        return f"amqp://{user[0]}:{user[1]}@{host}:{port or self.port}/{VHOST}"

    def tls_url(self, user: tuple[str, str] = ADMIN, *, host: str = "localhost", options: str = "") -> str:
        """Return the URL for TLS; `options` begin with a question mark."""
        return f"amqps://{user[0]}:{user[1]}@{host}:{self.tls_port}/{VHOST}{options}"

    def stomp_url(self, user: tuple[str, str] = ADMIN, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """Return the URL for STOMP; with a `port` the way goes through a proxy there."""
        return f"stomp+rabbitmq://{user[0]}:{user[1]}@{host}:{port or self.stomp_port}/{VHOST}"

    def stomp_tls_url(
        self, user: tuple[str, str] = ADMIN, *, host: str = "localhost", port: int | None = None, options: str = ""
    ) -> str:
        """Return the URL for STOMP over TLS; `options` begin with a question mark."""
        return f"stomps+rabbitmq://{user[0]}:{user[1]}@{host}:{port or self.stomp_tls_port}/{VHOST}{options}"

    def management_url(self, user: tuple[str, str] = ADMIN, *, port: int | None = None) -> str:
        """Return the URL of the management API."""
        return f"http://{user[0]}:{user[1]}@127.0.0.1:{port or self.management_port}"

    def management_tls_url(self, user: tuple[str, str] = ADMIN, *, host: str = "localhost", options: str = "") -> str:
        """Return the URL of the management API over TLS; `options` begin with a question mark."""
        return f"https://{user[0]}:{user[1]}@{host}:{self.management_tls_port}{options}"

    def delete(self, *path: str) -> None:
        """Delete an object by the management API, if it is there: in milliseconds, where rabbitmqctl takes a second."""
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=STOP_LIMIT_SECONDS)
        login = b64encode(":".join(ADMIN).encode()).decode()
        words = "/".join(quote(word, safe="") for word in path)
        with closing(connection):
            connection.request("DELETE", f"/api/{words}", headers={"Authorization": f"Basic {login}"})
            assert connection.getresponse().status in (204, 404)

    def declare_exchange(self, name: str) -> None:
        """Declare a durable topic exchange."""
        with amqp.Connection(f"127.0.0.1:{self.port}", *ADMIN, virtual_host=VHOST) as connection:
            connection.channel().exchange_declare(name, "topic", durable=True, auto_delete=False)

    def start(self) -> None:
        """Start the node and wait until it serves; one that ends while it starts is started once more."""
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            self.launch()
            try:
                self.wait_until_started()
                return
            except RuntimeError:
                if attempt == START_ATTEMPTS_MAX:
                    raise

    def launch(self) -> None:
        """Start the node without waiting for it."""
        self._shared.start_epmd()
        log = self.folder / "log" / "rabbit.log"
        self._log_begin = log.stat().st_size if log.exists() else 0
        assert SCRIPTS is not None
        with (self.folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [str(SCRIPTS / "rabbitmq-server")],
                env=self.environ,
                stdout=console,
                stderr=console,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_until_started(self) -> None:
        """Wait until the node serves that was launched."""
        assert self._process is not None
        log = self.folder / "log" / "rabbit.log"
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            text = log.read_bytes()[self._log_begin :] if log.exists() else b""
            if b"Server startup complete" in text:
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = text.decode(errors="replace")
                errors = "\n".join(line for line in log_text.splitlines() if "[error]" in line)
                # One that ends before it opens its log writes why to its console.
                console = (self.folder / "console").read_text(errors="replace")
                raise RuntimeError(
                    f"RabbitMQ did not start:\n{errors[:3000]}\n{log_text[-1000:]}\nconsole:\n{console[-1000:]}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the node as an admin would."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the node in the middle of whatever it does."""
        self._signal(signal.SIGKILL)

    def keep_declarations(self) -> None:
        """Wait until queues and bindings outlive a kill, as messages do that are confirmed."""
        time.sleep(DECLARATIONS_KEPT_SECONDS)

    def freeze(self) -> None:
        """Stop the node from answering, with its connections open."""
        stop_threads(self.pid)

    def thaw(self) -> None:
        """Resume the node."""
        os.kill(self.pid, signal.SIGCONT)

    def alarm(self, raised: bool) -> None:
        """Raise or clear the memory alarm, at which the broker stops to read from publishers."""
        limit = MEMORY_ALARM_BYTES if raised else MEMORY_LIMIT_BYTES
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({{absolute, {limit}}})")
        # The monitor only reports it; once the alarm is listed, every connection was asked to stop or to go on.
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while self.evaluate("rabbit_alarm:get_alarms() =/= []").strip() != str(raised).lower():
            assert time.monotonic() < deadline, "the alarm does not change"
            time.sleep(0.01)

    def evaluate(self, expression: str) -> str:
        """Return the value of an Erlang expression in the node, as `rabbitmqctl eval` does, but in milliseconds."""
        return evaluate(self.name, self.environ, expression)

    def evaluate_json(self, expression: str) -> Any:
        """Return the value of an Erlang expression in the node: texts, numbers, lists, no pairs."""
        return evaluate_json(self.name, self.environ, expression)

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl."""
        assert SCRIPTS is not None
        done = subprocess.run(
            [str(SCRIPTS / "rabbitmqctl"), "--node", self.name, *arguments],
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def close(self) -> None:
        """End everything that was started."""
        self.kill()
        if self._owns_shared:
            self._shared.close()

    @property
    def is_running(self) -> bool:
        """Return whether the node was started, and neither stopped nor killed; a frozen one runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine."""
        return int((self.folder / "rabbit.pid").read_text())

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # The launcher execs the Erlang machine in the same session; its helpers go with the group.
        group = self._process.pid
        if number is signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        else:
            with suppress(ProcessLookupError, FileNotFoundError, ValueError):
                os.kill(self.pid, number)
        try:
            self._process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            self._process.wait(STOP_LIMIT_SECONDS)
        self._process = None

    def _management_settings(self) -> dict[str, str]:
        return {
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(self.management_port),
            "management.ssl.ip": "127.0.0.1",
            "management.ssl.port": str(self.management_tls_port),
            "management.ssl.cacertfile": str(self.folder / "ca.pem"),
            "management.ssl.certfile": str(self.folder / "cert.pem"),
            "management.ssl.keyfile": str(self.folder / "key.pem"),
        }

    def _prepare(self, added: Mapping[str, str]) -> None:
        folder = self.folder
        for name in ("mnesia", "log", "config"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        certificate = self.ca.issue_cert("localhost", "127.0.0.1")
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(str(folder / "cert.pem"), append=number > 0)
        client = self.ca.issue_cert("client.example")
        client.private_key_pem.write_to_path(str(self.client_key_file))
        client.cert_chain_pems[0].write_to_path(str(self.client_cert_file))
        (folder / "enabled_plugins").write_text("[rabbitmq_management_agent,rabbitmq_stomp].\n")
        (folder / "advanced.config").write_text("[].\n")
        settings = {
            "loopback_users.guest": "false",
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "listeners.ssl.1": f"127.0.0.1:{self.tls_port}",
            "ssl_options.cacertfile": folder / "ca.pem",
            "ssl_options.certfile": folder / "cert.pem",
            "ssl_options.keyfile": folder / "key.pem",
            "ssl_options.verify": "verify_peer",
            "ssl_options.fail_if_no_peer_cert": "false",
            "stomp.listeners.tcp.1": f"127.0.0.1:{self.stomp_port}",
            "stomp.listeners.ssl.1": f"127.0.0.1:{self.stomp_tls_port}",
            "vm_memory_high_watermark.absolute": "4GB",
            "collect_statistics_interval": STATISTICS_INTERVAL_MS,
            "disk_free_limit.absolute": "50MB",
            "load_definitions": folder / "definitions.json",
            **added,
        }
        (folder / "rabbitmq.conf").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        (folder / "definitions.json").write_text(json.dumps(_definitions()))
        self.environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            **self._shared.environ,
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_MNESIA_DIR": str(folder / "mnesia" / "db"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": str(folder / "log" / "rabbit.log"),
            "RABBITMQ_PID_FILE": str(folder / "rabbit.pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {_SCHEDULERS}",
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }


def _definitions() -> dict[str, object]:
    users = (ADMIN, RELAY, READER, KEEPER, NARROW, MONITOR)
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    relay = {"configure": "^sourcepulse$", "write": "^sourcepulse$", "read": "^$"}
    names = r"sub\..*|amq\.gen.*|temporary-.*|stomp-subscription-.*"
    reader = {"configure": f"^({names})$", "write": f"^({names})$", "read": f"^(sourcepulse|{names})$"}
    keeper = {**reader, "write": rf"^(amq\.default|{names})$"}
    nothing = dict.fromkeys(everything, "^$")
    rights = zip(users, (everything, relay, reader, keeper, relay, nothing), strict=True)
    return {
        "vhosts": [{"name": VHOST}, {"name": "closed"}],
        "users": [{"name": user[0], "password": user[1], "tags": TAGS.get(user, "")} for user in users],
        "permissions": [{"user": user[0], "vhost": VHOST, **right} for user, right in rights],
        "exchanges": [
            {
                "name": name,
                "vhost": VHOST,
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for name in EXCHANGES
        ],
        "topic_permissions": [
            {"user": NARROW[0], "vhost": VHOST, "exchange": "sourcepulse", "write": "^hg\\.", "read": "^$"}
        ],
    }
