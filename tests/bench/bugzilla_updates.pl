#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Times updates of a bug, a new priority and a comment, with the extension off and on, its sidecar up, dead and hung, in turns:
#   perl bugzilla_updates.pl FOLDER ROUNDS
# Prints a JSON object with `wall` and `cpu` (of this process), each with lists of seconds. With `--fill N` it makes N rows instead.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../bugzilla_extension/SourcePulse/t/lib";

use BzWorld;
use JSON::XS ();
use List::Util qw(shuffle);
use Socket qw(AF_UNIX MSG_DONTWAIT SOCK_DGRAM sockaddr_un);
use Time::HiRes qw(CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID clock_gettime);

use constant WAYS => qw(off up dead hung);
use constant WARM_UP_ROUNDS => 5;
# A bug with ever more comments is ever slower to update.
use constant UPDATES_OF_A_BUG => 40;

my $fills  = $ARGV[0] eq '--fill' ? shift : undef;
my ($folder, $rounds) = @ARGV;
my $world  = BzWorld->new($folder);
my $path   = $world->data . '/sourcepulse.sock';
local $SIG{__WARN__} = sub { };
my ($bug, $updates, $socket) = (undef, 0, undef);

# As they are after checksetup.pl, but for the one.
sub enable {
  @{Bugzilla->params}{qw(sourcepulse_enabled sourcepulse_restricted)} = ($_[0], $fills ? 1 : 0);
  return;
}

sub put_sidecar {
  my ($way) = @_;
  undef $socket;
  unlink($path);
  return if $way eq 'dead' || $way eq 'off';
  socket($socket, AF_UNIX, SOCK_DGRAM, 0) or die "no socket: $!\n";
  bind($socket, sockaddr_un($path)) or die "$path: $!\n";
  return if $way eq 'up';
  # The queue of a socket that no process reads is soon full.
  socket(my $sender, AF_UNIX, SOCK_DGRAM, 0) or die "no socket: $!\n";
  1 while defined send($sender, '1', MSG_DONTWAIT, sockaddr_un($path));
  return;
}

sub update {
  my ($enabled) = @_;
  enable(0);
  $bug = $world->create_bug unless $bug && $updates++ % UPDATES_OF_A_BUG;
  $world->new_request;
  enable($enabled);
  my $object = Bugzilla::Bug->new($bug);
  my ($is) = $world->dbh->selectrow_array('SELECT priority FROM bugs WHERE bug_id = ?', undef, $bug);
  $object->set_all({priority => $is eq 'High' ? 'Low' : 'High', comment => {body => "comment $updates"}});
  my @clocks = (CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID);
  my @began = map { clock_gettime($_) } @clocks;
  $object->update;
  return map { clock_gettime($clocks[$_]) - $began[$_] } 0, 1;
}

if ($fills) {
  update(1) foreach 1 .. $rounds;
  exit 0;
}
my %taken;
foreach my $round (1 .. $rounds + WARM_UP_ROUNDS) {
  foreach my $way (shuffle(WAYS)) {
    put_sidecar($way);
    my ($wall, $cpu) = update($way eq 'off' ? 0 : 1);
    next if $round <= WARM_UP_ROUNDS;
    push(@{$taken{wall}->{$way}}, $wall);
    push(@{$taken{cpu}->{$way}},  $cpu);
  }
}
put_sidecar('dead');
print JSON::XS->new->encode(\%taken), "\n";
