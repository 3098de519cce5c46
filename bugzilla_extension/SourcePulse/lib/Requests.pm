# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Requests;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Fcntl qw(LOCK_EX LOCK_NB O_CREAT O_NOFOLLOW O_RDWR);

use Bugzilla::Constants qw(BUGZILLA_VERSION ERROR_MODE_DIE bz_locations);

use Bugzilla::Extension::SourcePulse::DatabaseError qw(reason_of);
use Bugzilla::Extension::SourcePulse::EventCheck    qw(check_events);
use Bugzilla::Extension::SourcePulse::FillThinRow   qw(fill_thin_row);
use Bugzilla::Extension::SourcePulse::FillUpdate    qw(fill_update);
use Bugzilla::Extension::SourcePulse::HistoryScan   qw(page tips);
use Bugzilla::Extension::SourcePulse::Json
  qw(decode_json_text encode_json_text truth);
use Bugzilla::Extension::SourcePulse::MissedChanges qw(forget_missed);
use Bugzilla::Extension::SourcePulse::Nudge         qw(socket_path);
use Bugzilla::Extension::SourcePulse::Params
  qw(active is_set_up restricted secret site_id);
use Bugzilla::Extension::SourcePulse::PrivatePeriods qw(note_site);
use Bugzilla::Extension::SourcePulse::Silence        qw(note_watch);
use Bugzilla::Extension::SourcePulse::Visibility     qw(site_is_public);
use Bugzilla::Extension::SourcePulse::WaitingRows
  qw(bury_row depth next_rows remove_rows retry_rows stats);

use constant PROTOCOL => 2;

use constant ROWS_MAX       => 1_000;
use constant ROWS_MAX_BYTES => 8 * 1024 * 1024;

my %ANSWER = (
  hello   => \&_hello,
  lock    => \&_lock,
  next    => \&_next,
  ack     => \&_ack,
  bury    => \&_bury,
  retry   => \&_retry,
  stats   => sub { return stats() },
  found   => \&_found,
  check   => \&_check,
  tips    => sub { return {marks => tips()} },
  recover => \&_recover,
);
my %NEEDS_LOCK = map { $_ => 1 } qw(next ack bury retry found);

sub new {
  my ($class, $requests, $answers) = @_;
  return bless {requests => $requests, answers => $answers, lock => undef},
    $class;
}

sub run {
  my ($self) = @_;
  my $requests = $self->{requests};
  while (defined(my $line = <$requests>)) {
    my $answer = $self->_answer($line);
    print {$self->{answers}} encode_json_text($answer), "\n" or last;
  }
  return;
}

sub _answer {
  my ($self, $line) = @_;
  my $request = eval { decode_json_text($line) };
  return _error('request', 'the request is not a JSON object')
    unless ref $request eq 'HASH';
  my $do     = defined $request->{do} ? $request->{do} : '';
  my $answer = $ANSWER{$do}
    or return _error('request', 'there is no such request');
  return _error('request', "$do needs the lock")
    if $NEEDS_LOCK{$do} && !$self->{lock};
  my $result = eval {
    _begin();
    return _error('paused', 'Bugzilla is down for maintenance')
      if Bugzilla->params->{shutdownhtml};
    return _error('setup',
      'the table or the parameters of the extension are missing; run checksetup.pl')
      unless is_set_up();
    note_site(site_is_public());
    $answer->($self, $request);
  };
  if (!$result) {
    my $error = "$@";

    # The next request starts with a new connection.
    eval { Bugzilla::_cleanup() };
    return $error =~ /\Arequest: (.*)$/m
      ? _error('request',  $1)
      : _error('database', reason_of($error));
  }
  return exists $result->{ok} ? $result : {ok => \1, %$result};
}

# Parameters, groups and fields may have changed since the last request; only
# the connection is kept.
sub _begin {
  my $cache = Bugzilla->request_cache;
  delete @$cache{grep { !/\Adbh/ } keys %$cache};
  Bugzilla->error_mode(ERROR_MODE_DIE);

  # Data that was read in an unfinished transaction is dropped as well.
  Bugzilla->dbh->bz_rollback_transaction if Bugzilla->dbh->bz_in_transaction;
  return;
}

sub _error {
  my ($code, $error) = @_;
  return {ok => \0, code => $code, error => $error};
}

sub _hello {
  my $group = Bugzilla->localconfig->{webservergroup};
  return {
    protocol     => PROTOCOL,
    site         => site_id(),
    secret       => secret(),
    bugzilla     => BUGZILLA_VERSION,
    database     => Bugzilla->localconfig->{db_driver},
    socket       => socket_path(),
    group        => $group ? "$group" : undef,
    enabled      => truth(active()),
    restricted   => truth(restricted()),
    requirelogin => truth(!site_is_public()),
  };
}

sub _lock {
  my ($self) = @_;
  return {} if $self->{lock};
  my $path = bz_locations()->{datadir} . '/sourcepulse.lock';
  sysopen(my $lock, $path, O_RDWR | O_CREAT | O_NOFOLLOW, 0660)
    or return _error('setup', "the lock $path cannot be opened: $!");
  flock($lock, LOCK_EX | LOCK_NB)
    or return _error('locked', 'another sidecar drains this Bugzilla');
  $self->{lock} = $lock;
  note_watch();
  return {};
}

sub _next {
  my ($self, $request) = @_;
  my $count = _whole($request->{count}, 'count');
  $count = ROWS_MAX if $count > ROWS_MAX;
  my $rows  = next_rows($count, ROWS_MAX_BYTES);
  my $depth = depth();
  foreach my $row (@$rows) {
    $row->{$_} += 0 foreach qw(id bug_id);
    fill_update($row) || fill_thin_row($row);
  }
  return {rows => $rows, depth => $depth};
}

sub _ack {
  my ($self, $request) = @_;
  return {deleted => remove_rows(_ids($request->{ids}, 'ids'))};
}

sub _bury {
  my ($self, $request) = @_;
  bury_row(_whole($request->{id}, 'id'), $request->{reason} // '');
  return {};
}

sub _retry { return {rows => retry_rows()}; }

sub _found {
  my ($self, $request) = @_;
  my $count = _whole($request->{count}, 'count');

  # Reconciliation finds nothing while the site is closed.
  forget_missed($count) if site_is_public();
  return {};
}

sub _check {
  my ($self, $request) = @_;
  my $events = $request->{events};
  die "request: events is not a list of objects\n"
    if ref $events ne 'ARRAY'
    || grep { ref $_ ne 'HASH' || ref $_->{type} || !defined $_->{type} }
    @$events;

  # Not a verdict: waiting events were public, and may become public again.
  return _error('closed',
    'nothing of this Bugzilla is public while requirelogin is on; its public events wait until it is off'
  ) unless site_is_public();
  return {verdicts => check_events(@$events)};
}

sub _recover {
  my ($self, $request) = @_;
  my $marks = $request->{marks};
  die "request: marks is not an object\n" unless ref $marks eq 'HASH';
  return page($marks, _whole($request->{count}, 'count'));
}

sub _whole {
  my ($value, $name) = @_;
  die "request: $name is not a whole number\n"
    unless defined $value && !ref $value && $value =~ /\A[0-9]{1,15}\z/;
  return $value + 0;
}

sub _ids {
  my ($ids, $name) = @_;
  return ()                            unless defined $ids;
  die "request: $name is not a list\n" unless ref $ids eq 'ARRAY';
  return map { _whole($_, $name) } @$ids;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Requests - answers the requests of the sidecar

=head1 DESCRIPTION

F<PROTOCOL.md> describes them.
