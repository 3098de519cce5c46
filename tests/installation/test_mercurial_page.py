# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the page on Mercurial prints is done as printed, in a bare Debian: pushes over ssh and to hgweb arrive."""

from __future__ import annotations

import re

import pytest

from support.installation.bare_root import ADDRESS, WATCHED, BareRoot
from support.installation.pages import steps

PAGE = "shared/docs/install-mercurial.md"
#: The user on whose machine the clones are; here it is the same machine.
DEVELOPER = "dev"
#: It exits with 2 where something could not be checked.
DOCTOR = "/opt/sourcepulse/bin/sourcepulse doctor"
#: What every server with ssh has, and every developer.
SSH = f"""\
useradd --create-home --shell /bin/bash {DEVELOPER}
install -d -o {DEVELOPER} -m 0700 /home/{DEVELOPER}/.ssh
ssh-keygen -q -t ed25519 -N '' -f /home/{DEVELOPER}/.ssh/id_ed25519
printf 'Host *\\n  StrictHostKeyChecking accept-new\\n' > /home/{DEVELOPER}/.ssh/config
chown -R {DEVELOPER}: /home/{DEVELOPER}/.ssh
install -d -o alice -m 0700 /home/alice/.ssh
install -o alice -m 0600 /home/{DEVELOPER}/.ssh/id_ed25519.pub /home/alice/.ssh/authorized_keys
mkdir -p /run/sshd
/usr/sbin/sshd -o ListenAddress={ADDRESS}
"""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


def test_pushes_over_ssh_and_to_hgweb_arrive_after_what_the_page_prints(machine: BareRoot) -> None:
    printed = []
    for step in steps(PAGE):
        if step.begins.startswith("hg clone ssh"):
            machine.run(SSH)
        if "sourcepulse tail" in step.begins:
            machine.watch(step)
        elif step.action != "read":
            is_developers = step.begins.startswith(("hg clone", "[auth]"))
            printed.append(machine.do(step, user=DEVELOPER if is_developers else "root"))
    assert sum("ok extension" in out for out in printed) == 2
    assert re.search(r"^relay +running", printed[-1], re.MULTILINE)
    # The relay that a push had started ends when it is idle; then that of the unit runs, and nothing is wrong.
    machine.wait_for("grep -lz '^/opt/sourcepulse/bin/python3' /proc/[0-9]*/cmdline | xargs stat -c %U", "sourcepulse")
    found = machine.run(f"{DOCTOR} || [ $? = 2 ]")
    assert re.search(r"^ok +SP501 +/srv/hg/repo", found, re.MULTILINE)
    assert not re.search(r"^(broken|warning)", found, re.MULTILINE), found
    read = machine.wait_for(f"cat {WATCHED}", "a second change")
    pushed = r"hg\.push  hg://hg\.example\.org/repo  alice pushed 1 changeset, [0-9a-f]{12} a %s change"
    assert re.search(pushed % "first", read)
    assert re.search(pushed % "second", read)
