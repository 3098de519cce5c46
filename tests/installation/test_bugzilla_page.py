# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the page on Bugzilla prints is done as printed, in a bare Debian with a real Bugzilla: a filed bug arrives.

The Bugzilla is a new one, with the code of the folder that BUGZILLA_HOME names and an SQLite file of its own.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from support.installation.bare_root import WATCHED, BareRoot
from support.installation.pages import steps

PAGE = "shared/docs/install-bugzilla.md"
HOME = os.environ.get("BUGZILLA_HOME", "")
#: What checksetup.pl of 5.0 and 5.2 requires, as Debian packages it.
PERL = (
    "perl make libcgi-pm-perl libdatetime-perl libdatetime-timezone-perl libdbi-perl libdbd-sqlite3-perl "
    "libdbix-connector-perl libtemplate-perl libemail-sender-perl libemail-mime-perl libemail-address-perl liburi-perl "
    "liblist-moreutils-perl libmath-random-isaac-perl libjson-xs-perl libtimedate-perl libmoo-perl "
    "libfile-slurp-perl libmodule-runtime-perl libfile-copy-recursive-perl libhtml-parser-perl libjson-rpc-perl"
)
ANSWERS = r"""
$answer{'db_driver'} = 'sqlite';
$answer{'db_name'} = 'bugs';
$answer{'webservergroup'} = 'www-data';
$answer{'use_suexec'} = 0;
$answer{'create_htaccess'} = 0;
$answer{'index_html'} = 0;
$answer{'urlbase'} = 'http://bugzilla.example.org/';
$answer{'ADMIN_EMAIL'} = 'admin@example.org';
$answer{'ADMIN_LOGIN'} = 'admin';
$answer{'ADMIN_PASSWORD'} = 'Passw0rd-admin';
$answer{'ADMIN_REALNAME'} = 'Admin';
$answer{'NO_PAUSE'} = 1;
"""
#: What the form for a new bug does, without a browser.
FILE_A_BUG = r"""
use strict; use warnings;
use lib qw(. lib local/lib/perl5);
use Bugzilla; use Bugzilla::Bug; use Bugzilla::Constants; use Bugzilla::User;
Bugzilla->usage_mode(USAGE_MODE_CMDLINE);
Bugzilla->set_user(Bugzilla::User->check({id => 1}));
my $bug = Bugzilla::Bug->create({
  product => 'TestProduct', component => 'TestComponent', short_desc => 'by the page', comment => 'described',
  version => 'unspecified', op_sys => 'All', rep_platform => 'All', bug_severity => 'normal', priority => '---',
});
print $bug->id, "\n";
"""

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HOME, reason="BUGZILLA_HOME names no folder of a Bugzilla"),
]


def set_up_bugzilla(machine: BareRoot) -> None:
    """Make a Bugzilla of the code in BUGZILLA_HOME, as an admin would long before."""
    place = machine.folder / "var" / "www" / "bugzilla"
    place.mkdir(parents=True)
    kept = ["--exclude=./data", "--exclude=./localconfig", "--exclude=./extensions/SourcePulse", "--exclude=./.git"]
    packed = subprocess.run(["tar", "-C", HOME, *kept, "-c", "."], capture_output=True, check=True)
    subprocess.run(["tar", "-C", str(place), "--no-same-owner", "-x"], input=packed.stdout, check=True)
    (machine.folder / "root" / "answers").write_text(ANSWERS, encoding="utf-8")
    (machine.folder / "root" / "file_a_bug.pl").write_text(FILE_A_BUG, encoding="utf-8")
    machine.run(f"apt-get update\napt-get install --yes --no-install-recommends {PERL}")
    for _ in range(2):
        machine.run("./checksetup.pl /root/answers", cwd="/var/www/bugzilla")
    machine.run("install -o www-data -m 0600 /root/file_a_bug.pl /var/lib/file_a_bug.pl")


def test_a_bug_that_is_filed_arrives_after_what_the_page_prints(machine: BareRoot) -> None:
    set_up_bugzilla(machine)
    printed = []
    for step in steps(PAGE):
        if "sourcepulse tail" in step.begins:
            machine.watch(step)
        elif "sourcepulse status" in step.begins:
            machine.run("cd /var/www/bugzilla && runuser -u www-data -- perl -T /var/lib/file_a_bug.pl")
            machine.wait_for(f"cat {WATCHED}", "bugzilla.bug.created")
            printed.append(machine.do(step))
        elif step.action != "read":
            printed.append(machine.do(step))
    set_up = next(out for out in printed if "Adding new table" in out)
    assert (set_up.count("Adding new table"), set_up.count("New parameter")) == (3, 7)
    assert "readable\n" in printed
    assert "0 pending" in printed[-1]
    assert "bugzilla.comment.created" in machine.wait_for(f"cat {WATCHED}", "bugzilla.comment.created")
