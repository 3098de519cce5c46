#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Does to a Bugzilla, fake or real, what it reads, a JSON object a line, and answers each with a line:
#   perl worker.pl FOLDER FIRST_BUG JOURNAL
# Bugs are counted from FIRST_BUG on. After each step the words that an anonymous visitor can read now, and the numbers of what
# he can see, are added to the file JOURNAL; the answer says what became different for him.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/../../../bugzilla_extension/SourcePulse/t/lib";

use BzWorld;
use IO::Handle;
use JSON::XS ();

use constant MASS_BUGS => 15;

my ($folder, $first, $journal) = @ARGV;
my $json  = JSON::XS->new->canonical->ascii;
my $world = BzWorld->new($folder);
require "$FindBin::Bin/sights.pl";
my $acts = require "$FindBin::Bin/acts.pl";
Acts::prepare($world);
my $sights = Sights->new($world, $first);
my $last_look;
# Bugzilla's own classes print to standard output, too.
open(my $answers, '>&', \*STDOUT) or die "no answers: $!\n";
open(STDOUT, '>', '/dev/null') or die "no standard output: $!\n";
$answers->autoflush(1);
open(my $seen_file, '>>', $journal) or die "$journal: $!\n";
# What is not worth a line on standard error: steps that Bugzilla refuses.
local $SIG{__WARN__} = sub { print STDERR @_ if $_[0] =~ /SourcePulse/ && $_[0] !~ /this test broke it/ };

sub column { return @{$world->dbh->selectcol_arrayref(@_)}; }

sub bugs { return column('SELECT bug_id FROM bugs WHERE bug_id >= ? ORDER BY bug_id', undef, $first); }

sub pick {
  my ($number, @from) = @_;
  return @from ? $from[$number % @from] : undef;
}

# Notes what is seen, and returns what is different from the last time.
sub look {
  my $now = $sights->look;
  my @new = $sights->new_words($now);
  syswrite($seen_file, join('', map {"$_\n"} @new)) if @new;
  my $different = $last_look ? $sights->differences($last_look, $now) : [];
  my $was_open = $last_look ? $last_look->{is_open} : 1;
  $last_look = $now;
  return {seen => $different, was_open => $was_open, is_open => $now->{is_open}};
}

# The end of a request; connections of the fake one cost half of all time here.
sub next_request {
  my $cache = Bugzilla->request_cache;
  my $dbh   = $cache->{dbh};
  return $world->new_request if BzWorld::is_real() || !$dbh || $dbh->bz_in_transaction;
  %$cache = (dbh => $dbh);
  Bugzilla->set_user(Bugzilla::User->new({name => 'admin@example.org'}));
  return;
}

# The fake Bugzilla's clock stands still but for this; the file is for drain.pl.
sub tick {
  my ($seconds) = @_;
  return if BzWorld::is_real();
  no warnings 'once';
  $Bugzilla::DB::now_s = ($Bugzilla::DB::now_s || time) + $seconds;
  my $clock = $world->data . '/clock';
  if (!-e $clock) { open(my $file, '>', $clock) or die "$clock: $!\n" }
  utime($Bugzilla::DB::now_s, $Bugzilla::DB::now_s, $clock) or die "$clock: $!\n";
  return;
}

my @SECRET = (groups => {add => ['secretgroup']});

my %DO = (
  create => sub {
    my ($step) = @_;
    my %more = (Acts::place($world, 'TestProduct'), $step->{secret} ? (groups => ['secretgroup']) : ());
    %more = Acts::place($world, 'Secret') if ($step->{secret} || 0) > 1;
    $world->create_bug(short_desc => "a bug $step->{token}a", comment => "described $step->{token}b", cf_text => "$step->{token}c", %more);
  },
  comment => sub {
    my ($step, $bug) = @_;
    $world->update_bug($bug, comment => {body => "says $step->{token}", is_private => $step->{secret} ? 1 : 0});
  },
  edit => sub {
    my ($step, $bug) = @_;
    my @comment = $step->{other} % 2 ? (comment => {body => "because $step->{token}b", is_private => $step->{secret} ? 1 : 0}) : ();
    $world->update_bug($bug, short_desc => "a bug $step->{token}a", cf_text => "$step->{token}c", @comment);
  },
  hide => sub {
    my ($step, $bug) = @_;
    $world->update_bug($bug, @SECRET, short_desc => "a bug $step->{token}a", comment => {body => "hidden $step->{token}b"});
  },
  show => sub {
    my ($step, $bug) = @_;
    return if Acts::is_in($world, $bug, 'Secret');
    $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => "a bug $step->{token}a", cf_text => "$step->{token}c",
      comment => {body => "shown $step->{token}b", is_private => $step->{secret} ? 1 : 0});
  },
  toggle => sub {
    my ($step, $bug) = @_;
    my $id = pick($step->{other}, column('SELECT comment_id FROM longdescs WHERE bug_id = ? ORDER BY comment_id', undef, $bug)) or return;
    my ($is) = column('SELECT isprivate FROM longdescs WHERE comment_id = ?', undef, $id);
    $world->update_bug($bug, comment_is_private => {$id => $is ? 0 : 1});
  },
  attach => sub {
    my ($step, $bug) = @_;
    $world->attach($bug, description => "a file $step->{token}", isprivate => $step->{secret} ? 1 : 0);
  },
  attachment => sub {
    my ($step, $bug) = @_;
    my $id = pick($step->{other}, column('SELECT attach_id FROM attachments WHERE bug_id = ? ORDER BY attach_id', undef, $bug)) or return;
    my ($is) = column('SELECT isprivate FROM attachments WHERE attach_id = ?', undef, $id);
    my @how = ([is_private => $is ? 0 : 1], [is_obsolete => 1], [flags => {review => '?'}], []);
    $world->update_attachment($id, description => "a file $step->{token}", @{$how[$step->{other} % @how]});
  },
  flag => sub {
    my ($step, $bug) = @_;
    my ($is) = column('SELECT status FROM flags WHERE bug_id = ? AND attach_id IS NULL', undef, $bug);
    $world->update_bug($bug, flags => {needinfo => !$is ? '?' : $is eq '?' ? '+' : 'X'});
  },
  move => sub {
    my ($step, $bug) = @_;
    my %to = Acts::place($world, $step->{secret} ? 'Secret' : ('TestProduct', $step->{other} % 2 ? 'Other' : undef));
    $world->update_bug($bug, %to, short_desc => "a bug $step->{token}a");
  },
  link => sub {
    my ($step, $bug) = @_;
    my $other = pick($step->{other}, bugs());
    return if $other == $bug;
    my %how = (0 => [dependson => {add => [$other]}], 1 => [cf_bug => $other], 2 => [dup_id => $other],
      3 => [dependson => {remove => [$other]}]);
    $world->update_bug($bug, @{$how{$step->{other} % 4}});
  },
  # Not the last one: the fake database would use its number again.
  delete => sub { my ($step, $bug) = @_; $world->delete_bug($bug) if $bug != (bugs())[-1] },
  mass   => sub {
    my ($step) = @_;
    $world->dbh->bz_start_transaction;
    $world->update_bug($_, cf_text => "$step->{token}c", comment => {body => "all $step->{token}b", is_private => $step->{secret} ? 1 : 0})
      foreach splice(@{[reverse bugs()]}, 0, MASS_BUGS);
    $world->dbh->bz_commit_transaction;
  },
  # Nothing of these may ever be published, in no stream.
  rollback => sub {
    my ($step, $bug) = @_;
    $world->dbh->bz_start_transaction;
    $world->create_bug(Acts::place($world, 'TestProduct'), short_desc => "a bug $step->{token}never", comment => 'x');
    $world->update_bug($bug, short_desc => "a bug $step->{token}never", comment => {body => "says $step->{token}never"});
    $world->dbh->bz_rollback_transaction;
  },
  die => sub {
    my ($step, $bug) = @_;
    $world->dying_in('bug_end_of_update',
      sub { $world->update_bug($bug, short_desc => "a bug $step->{token}never", comment => {body => "says $step->{token}never"}) });
  },
  # What stands in the tables at the end.
  facts => sub {
    my $rows = sub { $world->dbh->selectall_arrayref($_[0], {Slice => {}}, $first) };
    require Bugzilla::Extension::SourcePulse::Times;
    my %facts = (
      bugs        => $rows->('SELECT bug_id, creation_ts AS at FROM bugs WHERE bug_id >= ?'),
      comments    => $rows->('SELECT comment_id, bug_id, bug_when AS at, isprivate FROM longdescs WHERE bug_id >= ?'),
      attachments => $rows->('SELECT attach_id, bug_id, creation_ts AS at, isprivate FROM attachments WHERE bug_id >= ?'),
      in_groups   => [column('SELECT DISTINCT bug_id FROM bug_group_map WHERE bug_id >= ?', undef, $first)],
      history     => $rows->('SELECT bugs_activity.id, bug_id, bug_when AS at, who, attach_id, comment_id, fielddefs.name FROM bugs_activity
          INNER JOIN fielddefs ON fielddefs.id = fieldid WHERE bug_id >= ? ORDER BY bugs_activity.id'),
      missed      => Bugzilla::Extension::SourcePulse::MissedChanges::count_missed(),
    );
    foreach my $row (map { @{$facts{$_}} } qw(bugs comments attachments history)) {
      $row->{at} = Bugzilla::Extension::SourcePulse::Times::epoch($row->{at});
      $row->{$_} += 0 foreach grep { defined $row->{$_} } qw(id bug_id comment_id attach_id isprivate who);
    }
    $_ += 0 foreach @{$facts{in_groups}};
    return \%facts;
  },
  # What an anonymous visitor sees at this moment.
  state => sub {
    return {visible => {map { my $part = $_; $part => [map { $_ + 0 } keys %{$last_look->{$part}}] } qw(bugs comments attachments)},
      words => $last_look->{words_of} || {}};
  },
  prepare => sub {
    $world->params(requirelogin => 0, sourcepulse_enabled => 1, sourcepulse_restricted => 1, sourcepulse_tell_hidden => 1,
      sourcepulse_hidden_fields => '', usevisibilitygroups => 0);
    $world->dbh->do("DELETE FROM $_") foreach qw(sourcepulse_private sourcepulse_state);
    $world->rows;
    unlink(Bugzilla::Extension::SourcePulse::MissedChanges::missed_path());
    my ($last) = column('SELECT MAX(bug_id) FROM bugs');
    return {first => ($last || 0) + 1};
  },
);

tick(0);
look();
while (defined(my $line = <STDIN>)) {
  my $step = $json->decode($line);
  tick($step->{tick}) if defined $step->{tick};
  my @bugs = bugs();
  my $bug  = pick($step->{bug} || 0, @bugs);
  # A walk is slow where there is much to see.
  $step->{do} = 'edit' if $step->{do} eq 'create' && $step->{most_bugs} && @bugs >= $step->{most_bugs};
  $step->{bugs} = \@bugs;
  my $answer = {};
  if ($bug || $step->{do} =~ /\A(?:create|facts|prepare|params|thing|rename|state)\z/) {
    my $do = $DO{$step->{do}} || do { my $act = $acts->{$step->{do}}; sub { $act->($world, @_) } };
    my $work = sub { $answer = $do->($step, $bug) };
    my $ok = eval { $step->{how} ? Acts::broken($step->{how}, $work) : $work->(); 1 };
    my $error = $@;
    next_request();
    $answer = {} unless ref $answer eq 'HASH';
    $answer->{error} = "$error" unless $ok;
  }
  if ($step->{do} ne 'prepare' && $step->{do} ne 'facts') {
    $answer->{bug} = $bug + 0 if $bug;
    my $look = look();
    $answer->{$_} = $look->{$_} foreach keys %$look;
  }
  print {$answers} $json->encode($answer), "\n";
}
