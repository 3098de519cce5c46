#!/usr/bin/python3
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Stands in for systemctl where no systemd runs: starts what a unit starts, as its user, with its credentials.

It runs inside the root of a test, with that machine's Python.
"""

import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

UNITS = (Path("/etc/systemd/system"), Path("/lib/systemd/system"))
CREDENTIALS = Path("/run/credentials")
LOGS = Path("/var/log/units")
RESTARTS, RESTART_SECONDS = 10, 5


def settings(unit):
    """Return the values of the section Service, as lists."""
    found = {}
    text = next(folder / unit for folder in UNITS if (folder / unit).exists()).read_text()
    for line in text.partition("\n[Service]\n")[2].partition("\n[")[0].splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def start(unit):
    """Start a unit."""
    service = settings(unit)
    user = pwd.getpwnam(service["User"][0])
    group = grp.getgrnam(service["Group"][0]).gr_gid if "Group" in service else user.pw_gid
    for name in " ".join(service.get("StateDirectory", [])).split():
        folder = Path("/var/lib", name)
        folder.mkdir(exist_ok=True)
        os.chown(folder, user.pw_uid, group)
        folder.chmod(int(service.get("StateDirectoryMode", ["0755"])[0], 8))
    credentials = CREDENTIALS / unit
    credentials.mkdir(parents=True, exist_ok=True)
    os.chown(credentials, user.pw_uid, group)
    credentials.chmod(0o700)
    for each in service.get("LoadCredential", []):
        name, _, path = each.partition(":")
        if Path(path).exists():
            shutil.copyfile(path, credentials / name)
            os.chown(credentials / name, user.pw_uid, group)
            (credentials / name).chmod(0o400)
    environ = {"PATH": os.environ["PATH"], "HOME": user.pw_dir, "CREDENTIALS_DIRECTORY": str(credentials)}
    for each in service.get("Environment", []):
        for assignment in shlex.split(each.replace("%d", str(credentials))):
            name, _, value = assignment.partition("=")
            environ[name] = value
    command = re.sub(r"\$\{(\w+)\}", lambda found: environ[found[1]], service["ExecStart"][0]).replace("%%", "%")
    LOGS.mkdir(exist_ok=True)
    # As Restart=on-failure does.
    again = f"for n in $(seq {RESTARTS}); do {command} && exit; sleep {RESTART_SECONDS}; done"
    with (LOGS / unit).open("ab") as log:
        subprocess.Popen(
            ["sh", "-c", again],
            env=environ,
            user=user.pw_uid,
            group=group,
            extra_groups=os.getgrouplist(user.pw_name, group),
            umask=int(service.get("UMask", ["0022"])[0], 8),
            cwd=service.get("WorkingDirectory", ["/"])[0],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def main(arguments):
    """Do what systemctl would do."""
    words = [word for word in arguments if not word.startswith("-")]
    if words[0] == "daemon-reload":
        return
    (unit,) = words[1:]
    unit = unit if unit.endswith(".service") else f"{unit}.service"
    if unit == "apache2.service":
        subprocess.run(["apache2ctl", "restart"], check=True)
    elif words[0] in ("enable", "start"):
        start(unit)
    else:
        sys.exit(f"{words[0]} is not done here")


if __name__ == "__main__":
    main(sys.argv[1:])
