# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A bare Debian in a folder, made by debootstrap, in which the commands of the pages run as root.

Its processes have a process namespace and mounts of their own. The network is that of the machine, so
that its packages can be installed; what listens there does so on a loopback address of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from support.component import require
from support.fenced_blocks import ROOT, Block
from support.installation.pages import Step

#: Names of the pages that are this machine, at an address that nothing else uses.
NAMES = ("hg.example.org", "bugzilla.example.org", "ci.example.org")
ADDRESS = "127.0.17.1"
CLONE = "/root/sourcepulse"
#: What `tail` prints.
WATCHED = "/root/tail.log"
MAKE_LIMIT_SECONDS, RUN_LIMIT_SECONDS, WAIT_SECONDS = 600, 900, 60
#: What the machine has so that packages can be fetched: names of hosts, certificates, settings of pip.
SHARED_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pip.conf",
    "/root/.config/pip/pip.conf",
)
_SYSTEMCTL = Path(__file__).with_name("systemctl.py")


def require_root() -> None:
    """Skip the test where no bare root can be made; with CI set, fail it."""
    require(
        os.geteuid() == 0 and shutil.which("debootstrap") is not None,
        "a bare Debian needs root and debootstrap (Debian: apt-get install debootstrap)",
    )


def mirror_of_this_machine() -> str:
    """Return the mirror that apt of this machine uses."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return next(site for site in sites if site.endswith("/debian"))


def codename() -> str:
    """Return the name of this machine's release."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    return next(line.partition("=")[2] for line in text.splitlines() if line.startswith("VERSION_CODENAME="))


def make(folder: Path) -> None:
    """Make a bare Debian, with a clone of this project for root."""
    command = ["debootstrap", "--variant=minbase", "--include=ca-certificates", codename(), str(folder)]
    done = subprocess.run(
        [*command, mirror_of_this_machine()], capture_output=True, text=True, check=False, timeout=MAKE_LIMIT_SECONDS
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for path in map(Path, SHARED_FILES):
        if path.exists():
            (folder / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.relative_to("/"))
    for configuration in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(configuration, folder / "etc" / "apt" / "apt.conf.d")
    with (folder / "etc" / "hosts").open("a", encoding="utf-8") as hosts:
        hosts.write(f"{ADDRESS} {' '.join(NAMES)}\n")
    # No package starts a service by itself.
    (folder / "usr" / "sbin" / "policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (folder / "usr" / "sbin" / "policy-rc.d").chmod(0o755)
    shutil.copy(_SYSTEMCTL, folder / "usr" / "local" / "bin" / "systemctl")
    (folder / "usr" / "local" / "bin" / "systemctl").chmod(0o755)
    clone = folder / CLONE.lstrip("/")
    clone.mkdir(parents=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    packed = subprocess.run(["tar", "-c", "--null", "-T", "-"], cwd=ROOT, input=listed, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "--no-same-owner", "-C", str(clone)], input=packed.stdout, check=True)


class BareRoot:
    """A bare Debian that runs: a process that holds its namespaces, and commands inside."""

    def __init__(self, folder: Path, values: Mapping[str, str]) -> None:
        """Start it; `values` are what a reader writes in place of what a page prints, such as a password."""
        make(folder)
        self.folder = folder
        self._values = values
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]
        self._holder = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self._inside = self._first_process()
        for kind, place in (("proc", "proc"), ("devpts", "dev/pts"), ("tmpfs", "run")):
            self._enter("mount", "-t", kind, kind, str(folder / place))

    def run(self, script: str, *, user: str = "root", cwd: str = CLONE, code: int = 0) -> str:
        """Run a script and return what it prints; the test fails if its exit code is another."""
        process = self.start(script, user=user, cwd=cwd)
        try:
            out, _ = process.communicate(timeout=RUN_LIMIT_SECONDS)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == code, f"$ {script}\n{out[-4000:]}"
        return out

    def start(self, script: str, *, user: str = "root", cwd: str = CLONE) -> subprocess.Popen[str]:
        """Start a script, as a login of the user would."""
        inside = f"cd {cwd} && set -euo pipefail\n{self.here(script)}"
        shell = ["bash", "-c", inside] if user == "root" else ["runuser", "-u", user, "--", "bash", "-c", inside]
        home = "/root" if user == "root" else f"/home/{user}"
        environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            **{name: value for name, value in os.environ.items() if name in ("PIP_CERT", "SSL_CERT_FILE")},
        }
        return subprocess.Popen(
            [*self._nsenter(), "chroot", str(self.folder), *shell],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write(self, path: str, block: Block, *, append: bool = False, user: str = "root") -> None:
        """Write a block into a file, as an editor of the user would."""
        home = "/root" if user == "root" else f"/home/{user}"
        file = self.folder / path.replace("~", home).lstrip("/")
        assert file.parent.is_dir(), f"{path}: its folder is missing"
        before = file.read_text(encoding="utf-8") if append and file.exists() else ""
        file.write_text(before + self.here(block.text), encoding="utf-8")
        if user != "root":
            self.run(f"chown {user}: {path.replace('~', home)}")

    def do(self, step: Step, *, user: str = "root") -> str:
        """Do what a step of a page asks for, and return what it prints; what a console shows must be that."""
        if step.action != "run":
            self.write(step.path, step.block, append=step.action == "append", user=user)
            return ""
        out = self.run(step.block.script, user=user, cwd=CLONE if user == "root" else "~")
        if step.block.language == "console":
            assert out == self.here(step.block.output)
        return out

    def watch(self, step: Step) -> None:
        """Run what `tail` of a page prints into a file, as in another terminal, and wait until it is subscribed."""
        self.start(f"exec > {WATCHED} 2>&1\n{step.block.script}")
        self.wait_for(f"cat {WATCHED}", "subscribed")

    def here(self, text: str) -> str:
        """Return a text of a page with the values of the reader."""
        for printed, value in self._values.items():
            text = text.replace(printed, value)
        return text

    def wait_for(self, script: str, wanted: str, *, user: str = "root") -> str:
        """Run a script until it prints something that is wanted."""
        deadline = time.monotonic() + WAIT_SECONDS
        while wanted not in (out := self.run(f"{script} || true", user=user)):
            assert time.monotonic() < deadline, f"{script}: {out[-2000:]}"
            time.sleep(0.5)
        return out

    def close(self) -> None:
        """End everything that runs inside."""
        self._holder.kill()
        self._holder.wait()

    def _nsenter(self) -> list[str]:
        return ["nsenter", "--target", self._inside, "--mount", "--pid"]

    def _enter(self, *command: str) -> None:
        subprocess.run([*self._nsenter(), *command], check=True, timeout=WAIT_SECONDS)

    def _first_process(self) -> str:
        """Wait for the first process of the namespace."""
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := children.read_text().split()) or "sleep" not in _program(found[0]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return found[0]


def _program(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
