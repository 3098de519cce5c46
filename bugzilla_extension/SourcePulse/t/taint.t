#!/usr/bin/perl -T
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Bugzilla's pages run under taint mode: a path or a value that Perl does not trust would end every one of them.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib map { m{\A(.*)\z}s } "$FindBin::Bin/lib";

use BzWorld;
use Test::More;

ok(${^TAINT}, 'Perl runs in taint mode');

my $world = BzWorld->new;
$world->listen_for_nudges;
$world->params(sourcepulse_restricted => 1);
$world->rows;

# Empty, and tainted.
my $taint = substr($ENV{PATH}, 0, 0);

my $bug = $world->create_bug(short_desc => "a bug$taint", cc => ['bob@example.org']);
$world->update_bug($bug, short_desc => "another summary$taint", comment => {body => "words$taint"}, flags => {needinfo => '?'});
my $id = $world->attach($bug, description => "a file$taint");
$world->update_attachment($id, is_obsolete => 1);
$world->update_bug($bug, product => 'Secret', component => 'SecretComponent');
$world->delete_bug($bug);

is_deeply([map { $_->{kind} } $world->rows],
  [qw(bug.create bug.update attachment.create attachment.update bug.update bug.delete)], 'every row is written');
is($world->nudges, 6, 'every transaction is announced');
is(Bugzilla::Extension::SourcePulse::MissedChanges::count_missed(), 0, 'nothing is missed');

{
  local $SIG{__WARN__} = sub { };
  $world->dbh->do('ALTER TABLE sourcepulse_outbox RENAME TO sourcepulse_away');
  $bug = $world->create_bug;
  $world->dbh->do('ALTER TABLE sourcepulse_away RENAME TO sourcepulse_outbox');
}
is(Bugzilla::Extension::SourcePulse::MissedChanges::count_missed(), 1, 'what is missed is recorded');
Bugzilla::Extension::SourcePulse::MissedChanges::forget_missed(1);
is(Bugzilla::Extension::SourcePulse::MissedChanges::count_missed(), 0, 'and forgotten');

require Bugzilla::Extension::SourcePulse::Health;
is_deeply([map { $_->{problem} } Bugzilla::Extension::SourcePulse::Health::problems()], [], 'the sanity check runs');

$world->params(sourcepulse_restricted => 0);
done_testing();
