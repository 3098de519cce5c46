# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A private ActiveMQ broker from Debian's package: free loopback ports, own data, stopped by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import trustme

from support.brokers.activemq_config import LOG_SETTINGS, broker_xml, remove_queue_xml, write_stores
from support.brokers.rabbitmq import ADMIN, free_port
from support.component import require
from support.streams.freeze import stop_threads

START_LIMIT_SECONDS = 90
STOP_LIMIT_SECONDS = 30

JAVA = shutil.which("java") or "/usr/bin/java"
_PACKAGE = Path("/usr/share/activemq/lib")
#: The package's logging is log4j 1.2, which it does not list among its own jars.
_LOGGING = (Path("/usr/share/java/log4j-1.2.jar"), Path("/usr/share/java/slf4j-log4j12.jar"))


def is_installed() -> bool:
    """Return whether Debian's activemq and a Java are there."""
    return (_PACKAGE / "activemq-stomp.jar").exists() and Path(JAVA).exists()


def require_activemq() -> None:
    """Skip the test where it is not installed; with CI set, fail it."""
    require(is_installed(), "ActiveMQ is not installed (Debian: apt-get install activemq)")


class ActiveMqNode:
    """One broker; `start` may be called again after `kill` or `stop`, the data stays.

    With `store_limit_bytes` the store is full after about that many bytes, and refuses what is published. Of several
    brokers with the same `data` one serves, and the others stand by until it ends. One that is `managed` can be asked
    over JMX, as by its web console, to `remove_queue`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        data: Path | None = None,
        store_limit_bytes: int | None = None,
        managed: bool = False,
    ) -> None:
        self.folder = folder
        self._data = data or folder / "data"
        self.port, self.tls_port, self.client_cert_port = free_port(), free_port(), free_port()
        #: Here it takes small messages only.
        self.small_port, self.small_tls_port = free_port(), free_port()
        self._jmx_port = free_port() if managed else None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        #: A certificate of the same CA for a client, and its key.
        self.client_cert_file, self.client_key_file = folder / "client.pem", folder / "client.key"
        self._prepare(store_limit_bytes)

    def url(self, user: tuple[str, str] = ADMIN, *, host: str = "127.0.0.1", port: int | None = None) -> str:
        """Return the URL to log in with; with a `port` the way goes through a proxy there."""
        return f"stomp+activemq://{user[0]}:{user[1]}@{host}:{port or self.port}"

    def tls_url(
        self, user: tuple[str, str] = ADMIN, *, host: str = "localhost", port: int | None = None, options: str = ""
    ) -> str:
        """Return the URL for TLS; `options` begin with a question mark."""
        return f"stomps+activemq://{user[0]}:{user[1]}@{host}:{port or self.tls_port}{options}"

    def client_cert_url(self, user: tuple[str, str] = ADMIN, *, host: str = "localhost", options: str = "") -> str:
        """Return the URL of the port that wants a certificate of the client, besides its password."""
        return self.tls_url(user, host=host, port=self.client_cert_port, options=options)

    def start(self) -> None:
        """Start the broker and wait until it serves."""
        self.launch()
        self.wait_until_started()

    def launch(self) -> None:
        """Start the broker; a standby serves when it is its turn."""
        log = self.folder / "activemq.log"
        self._log_begin = log.stat().st_size if log.exists() else 0
        with (self.folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                self._command(), env=self._environ, stdout=console, stderr=console, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip

    def wait_until_started(self) -> None:
        """Wait until a broker that was launched serves."""
        assert self._process is not None, "the broker was not launched"
        log = self.folder / "activemq.log"
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while True:
            text = log.read_bytes()[self._log_begin :] if log.exists() else b""
            if b") started" in text and self._listens():
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                text += (self.folder / "console").read_bytes()[-1000:]
                raise RuntimeError(f"ActiveMQ did not start:\n{text.decode(errors='replace')[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the broker as an admin would."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the broker in the middle of whatever it does."""
        self._signal(signal.SIGKILL)

    def keep_declarations(self) -> None:
        """Do nothing: what was declared outlives a kill at once."""

    def forget_everything(self) -> None:
        """Remove what a broker that does not run has stored."""
        assert self._process is None, "the broker is running"
        shutil.rmtree(self._data)
        self._data.mkdir()

    def remove_queue(self, name: str) -> None:
        """Remove a queue, `Consumer.NAME....`, with consumers or without, as an admin does at the web console."""
        assert self._jmx_port is not None, "the broker is not managed"
        task = self.folder / "remove-queue.xml"
        task.write_text(remove_queue_xml(self._jmx_port, name))
        opens = ("java.management.rmi/javax.management.remote.rmi", "java.management/javax.management")
        flags = [flag for package in opens for flag in ("--add-opens", f"{package}=ALL-UNNAMED")]
        # It ends with an error, because the file describes no broker.
        command = [
            JAVA, *flags, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self._class_path(),
            "org.apache.activemq.console.Main", "start", f"xbean:file:{task}",
        ]  # fmt: skip
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=START_LIMIT_SECONDS, check=False
        )
        assert "has no BrokerService instance" in done.stdout + done.stderr, done

    def freeze(self) -> None:
        """Stop the broker from answering, with its connections open."""
        stop_threads(self.pid)

    def thaw(self) -> None:
        """Resume the broker."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End everything that was started."""
        self.kill()

    @property
    def pid(self) -> int:
        """The process id of the Java machine."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def log(self) -> str:
        """Return what the broker wrote so far."""
        return (self.folder / "activemq.log").read_text(errors="replace")

    def _listens(self) -> bool:
        # The last of the ports is opened after the others; a test's own configuration has none for small messages.
        for port in (self.port, self.tls_port, self.client_cert_port):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_LIMIT_SECONDS)
        self._process = None

    def _command(self) -> list[str]:
        folder = self.folder
        jmx = (
            [
                f"-Dcom.sun.management.jmxremote.{option}"
                for option in (
                    f"port={self._jmx_port}",
                    f"rmi.port={self._jmx_port}",
                    "host=127.0.0.1",
                    "authenticate=false",
                    "ssl=false",
                )
            ]
            if self._jmx_port
            else []
        )
        return [
            JAVA, "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            *jmx, "-Djava.rmi.server.hostname=127.0.0.1",
            "-Djava.net.preferIPv4Stack=true", f"-Djava.io.tmpdir={folder / 'tmp'}",
            f"-Dactivemq.base={folder}", f"-Dactivemq.data={self._data}",
            f"-Dlog4j.configuration=file:{folder / 'log4j.properties'}",
            "-cp", f"{folder}:{self._class_path()}",
            "org.apache.activemq.console.Main", "start", f"xbean:file:{folder / 'activemq.xml'}",
        ]  # fmt: skip

    @staticmethod
    def _class_path() -> str:
        # Some of the package's links point to jars that it only recommends.
        jars = [*sorted(_PACKAGE.glob("*.jar")), *sorted((_PACKAGE / "optional").glob("*.jar")), *_LOGGING]
        return ":".join(str(jar) for jar in jars if jar.exists())

    def _prepare(self, store_limit_bytes: int | None) -> None:
        folder = self.folder
        for needed in (self._data, folder / "tmp"):
            needed.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        client = self.ca.issue_cert("client.example")
        client.private_key_pem.write_to_path(str(self.client_key_file))
        client.cert_chain_pems[0].write_to_path(str(self.client_cert_file))
        password = os.urandom(10).hex()
        write_stores(folder, self.ca, password)
        (folder / "log4j.properties").write_text(LOG_SETTINGS.format(folder=folder))
        ports = {
            "port": self.port,
            "tls_port": self.tls_port,
            "client_cert_port": self.client_cert_port,
            "small_port": self.small_port,
            "small_tls_port": self.small_tls_port,
        }
        xml = broker_xml(
            folder,
            self._data,
            password,
            managed=self._jmx_port is not None,
            store_limit_bytes=store_limit_bytes,
            **ports,
        )
        (folder / "activemq.xml").write_text(xml)
        self._environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(folder),
        }
