#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Updates a bug at fixed times, each time with a comment, and prints a JSON object: the text of each comment, and when
# the update returned, in seconds since 1970.
#   perl latency_updates.pl FOLDER COUNT SECONDS_BETWEEN

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../bugzilla_extension/SourcePulse/t/lib";

use BzWorld;
use JSON::XS ();
use Time::HiRes ();

my ($folder, $count, $between) = @ARGV;
my $world = BzWorld->new($folder);
local $SIG{__WARN__} = sub { };
@{Bugzilla->params}{qw(sourcepulse_enabled sourcepulse_restricted)} = (1, 0);
my $bug = $world->create_bug;
my %at;
my $due = Time::HiRes::time();
foreach my $number (1 .. $count) {
  my $left = $due - Time::HiRes::time();
  Time::HiRes::sleep($left) if $left > 0;
  $due += $between;
  $world->new_request;
  my $object = Bugzilla::Bug->new($bug);
  $object->set_all({comment => {body => "latency $number"}});
  $object->update;
  $at{"latency $number"} = Time::HiRes::time();
}
print JSON::XS->new->encode(\%at), "\n";
