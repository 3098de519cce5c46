#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Speaks the drain protocol over a table of its own, and has the faults that a test asks for: the file "fault" names a
# request and what goes wrong with it; it is removed when that happened, unless its third word is "always".

use 5.10.1;
use strict;
use warnings;

use DBI;
use Fcntl qw(LOCK_EX LOCK_NB);
use JSON::PP;

my $folder = $ARGV[0];
my $json   = JSON::PP->new->ascii;
my $dbh    = DBI->connect("dbi:SQLite:dbname=$folder/rows.db", '', '', {RaiseError => 1, PrintError => 0});
my $lock;
$| = 1;

sub slurp {
  my ($name) = @_;
  open(my $file, '<', "$folder/$name") or return undef;
  local $/;
  return scalar <$file>;
}

sub append {
  my ($name, $line) = @_;
  open(my $file, '>>', "$folder/$name");
  print {$file} "$line\n";
}

# The verdict on an event by its type and the number of what it is about, by its type, or on all; else it may be sent.
sub verdict {
  my ($event, $verdicts) = @_;
  my ($type, $data) = @$event{qw(type data)};
  my $part  = (split(/\./, $type))[1];
  my $thing = ref $data->{$part} eq 'HASH' ? $data->{$part} : $data;
  my $id    = $thing->{id} // '';
  foreach my $name ("$type $id", $type, '*') {
    return $verdicts->{$name} if $verdicts->{$name};
  }
  return {send => JSON::PP::true};
}

sub fault {
  my ($do) = @_;
  my ($request, $what, $often) = split(' ', slurp('fault') // '');
  return '' unless defined $request && $request eq $do;
  unlink("$folder/fault") unless $often;
  return $what;
}

my %answer = (
  hello => sub { return $json->decode(slurp('hello.json')) },
  lock  => sub {
    return {} if $lock;
    open($lock, '>', "$folder/lock") or die;
    return {} if flock($lock, LOCK_EX | LOCK_NB);
    undef $lock;
    return {ok => JSON::PP::false, code => 'locked', error => 'another sidecar drains this Bugzilla'};
  },
  next => sub {
    my ($request) = @_;
    my $rows = $dbh->selectall_arrayref(
      'SELECT id, kind, bug_id, created_ts, payload FROM rows WHERE reason IS NULL ORDER BY id LIMIT ?',
      {Slice => {}}, $request->{count});
    $_->{id} += 0, $_->{bug_id} += 0 foreach @$rows;
    return {rows => $rows, depth => 0 + $dbh->selectrow_array('SELECT COUNT(*) FROM rows WHERE reason IS NULL')};
  },
  ack => sub {
    my $deleted = 0;
    $deleted += $dbh->do('DELETE FROM rows WHERE id = ?', undef, $_) foreach @{$_[0]->{ids}};
    return {deleted => $deleted};
  },
  bury  => sub { $dbh->do('UPDATE rows SET reason = ? WHERE id = ?', undef, @{$_[0]}{qw(reason id)}); return {} },
  retry => sub { return {rows => 0 + $dbh->do('UPDATE rows SET reason = NULL WHERE reason IS NOT NULL')} },
  stats => sub {
    return {
      depth    => 0 + $dbh->selectrow_array('SELECT COUNT(*) FROM rows WHERE reason IS NULL'),
      buried   => 0 + $dbh->selectrow_array('SELECT COUNT(*) FROM rows WHERE reason IS NOT NULL'),
      oldest_s => undef,
      missed   => 0 + (slurp('missed') // 0),
      silent_since => defined slurp('silent') ? 0 + slurp('silent') : undef,
    };
  },
  found => sub {
    my $left = (slurp('missed') // 0) - $_[0]->{count};
    return {} if -e "$folder/missed.kept";
    open(my $file, '>', "$folder/missed");
    print {$file} $left;
    return {};
  },
  tips    => sub { return {marks => {page => 0}} },
  recover => sub {
    my ($request) = @_;
    my $pages = $json->decode(slurp('pages.json') // '[]');
    my $page  = $request->{marks}->{page};
    return {rows => [], marks => {page => $page}, more => JSON::PP::false} if $page >= @$pages;
    return {rows => $pages->[$page], marks => {page => $page + 1}, more => $page + 1 < @$pages ? JSON::PP::true : JSON::PP::false};
  },
  check => sub {
    my ($request) = @_;
    append('checked', $json->encode($request->{events}));
    my $answer = slurp('check.json');
    return $json->decode($answer) if defined $answer;
    my $verdicts = $json->decode(slurp('verdicts.json') // '{}');
    return {verdicts => [map { verdict($_, $verdicts) } @{$request->{events}}]};
  },
);

if (defined(my $text = slurp('shutdown'))) {
  print $text;
  exit 0;
}
while (defined(my $line = <STDIN>)) {
  my $request = $json->decode($line);
  my $do      = $request->{do};
  append('asked', $do);
  my $fault = fault($do);
  if ($fault eq 'hang') { sleep 600; }
  elsif ($fault eq 'die') { print STDERR "drain.pl: the reason\n"; exit 7; }
  elsif ($fault eq 'kill') { kill 9, $$; }
  elsif ($fault eq 'setup') { print STDERR "drain.pl: link the extension\n"; exit 3; }
  elsif ($fault eq 'close') { close(STDOUT); sleep 600; }
  elsif ($fault eq 'maintenance') { print "<html>\nback in five minutes\n</html>\n"; exit 0; }
  elsif ($fault eq 'garbage') { print "\x{1b}[2J not json\n"; next; }
  elsif ($fault eq 'list') { print "[1, 2]\n"; next; }
  elsif ($fault eq 'half') { print '{"ok": true, "rows'; exit 1; }
  elsif ($fault eq 'twice') { print qq({"ok": true}\n{"ok": true}\n); next; }
  elsif ($fault eq 'endless') { print 'x' x 65536 while 1; }
  elsif ($fault eq 'chatter') { print STDERR 'line ' . ('y' x 5000) . " $_\n" foreach 1 .. 2000; }
  elsif ($fault eq 'sense') { print qq({"ok": true, "rows": "many", "depth": null}\n); next; }
  elsif ($fault =~ /\A(?:database|paused|request)\z/) {
    print $json->encode({ok => JSON::PP::false, code => $fault, error => "the $fault says no"}), "\n";
    next;
  }
  my $done = $answer{$do}->($request);
  if ($fault eq 'after') { kill 9, $$; }
  print $json->encode({ok => JSON::PP::true, %$done}), "\n";
}
