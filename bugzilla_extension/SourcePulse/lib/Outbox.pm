# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Outbox;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Carp ();

use Bugzilla::Util qw(trick_taint);

use Bugzilla::Extension::SourcePulse::Database       qw(handle with_handle);
use Bugzilla::Extension::SourcePulse::DatabaseError  qw(is_fatal reason_of);
use Bugzilla::Extension::SourcePulse::Json           qw(encode_json_text);
use Bugzilla::Extension::SourcePulse::MissedChanges  qw(note_missed);
use Bugzilla::Extension::SourcePulse::PrivatePeriods qw(note_site);
use Bugzilla::Extension::SourcePulse::Visibility     qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(forget_transaction has_new_rows outbox_schema record);

# Bugzilla maps LONGTEXT to MySQL's MEDIUMTEXT, and a statement may be limited
# to 4 MB.
use constant PAYLOAD_MAX_BYTES => 2 * 1024 * 1024;

# Attributes of a database handle must have this prefix, or DBI drops them.
use constant {
  DIRTY       => 'private_sourcepulse_dirty',
  TRANSACTION => 'private_sourcepulse_transaction'
};

sub outbox_schema {
  return {
    FIELDS => [
      id         => {TYPE => 'INTSERIAL',   NOTNULL => 1, PRIMARYKEY => 1},
      created_ts => {TYPE => 'DATETIME',    NOTNULL => 1},
      kind       => {TYPE => 'varchar(64)', NOTNULL => 1},

      # No foreign key, because the row outlives the bug.
      bug_id    => {TYPE => 'INT4',     NOTNULL => 1},
      is_public => {TYPE => 'BOOLEAN',  NOTNULL => 1, DEFAULT => 'FALSE'},
      payload   => {TYPE => 'LONGTEXT', NOTNULL => 1},
      reason    => {TYPE => 'varchar(255)'},
    ],
  };
}

# Runs MAKE, which returns rows (or undef), and stores them in the current
# transaction. THIN returns the row to store if MAKE fails; without it, such a
# change is missed. Dies only if Bugzilla's own next statement would also die.
sub record {
  my ($make, $thin) = @_;
  my $fatal;
  {
    # Carp would write the first characters of every argument into the error
    # log.
    local $Carp::MaxArgNums = -1;
    local ($!, $?);
    local $@;
    my $done = _try($make);

    # An error whose first line is empty has an empty reason.
    if (defined(my $reason = $done->{reason})) {
      $done = _try(sub { $thin->($reason) }) if $thin;
      _missed($thin, $done->{reason})        if defined $done->{reason};
    }
    $fatal = $done->{fatal};
  }
  die $fatal if defined $fatal;
  return;
}

sub _try {
  my ($make) = @_;

  # Only in PostgreSQL does a failed statement abort the transaction, back to
  # the last savepoint; elsewhere the two extra statements would be wasted.
  my $needs_savepoint
    = Bugzilla->dbh->isa('Bugzilla::DB::Pg') && Bugzilla->dbh->bz_in_transaction;
  return with_handle(sub { _try_with($_[0], $needs_savepoint, $make) });
}

sub _try_with {
  my ($dbh, $needs_savepoint, $make) = @_;
  my $ok = eval {
    local $SIG{__DIE__} = 'DEFAULT';
    $dbh->do('SAVEPOINT sourcepulse') if $needs_savepoint;

    # Changes made while visitors must log in are not published later either.
    note_site(0) unless site_is_public();
    _insert($_) foreach grep {ref} $make->();
    $dbh->do('RELEASE SAVEPOINT sourcepulse') if $needs_savepoint;
    1;
  };
  return {} if $ok;
  my $error = $@;
  return {fatal => $error} if is_fatal($dbh, $error);
  if ($needs_savepoint) {
    my $is_back = eval {
      local $SIG{__DIE__} = 'DEFAULT';
      $dbh->do('ROLLBACK TO SAVEPOINT sourcepulse');
      $dbh->do('RELEASE SAVEPOINT sourcepulse');
      1;
    };
    return {fatal => $error} unless $is_back;
  }
  return {reason => reason_of($error)};
}

sub _insert {
  my ($row)       = @_;
  my $dbh         = Bugzilla->dbh;
  my $transaction = $dbh->{+TRANSACTION} || _new_transaction();
  $row->{payload}->{transaction} = $transaction;
  my $payload = encode_json_text($row->{payload});
  die "the payload has too many bytes\n" if length($payload) > PAYLOAD_MAX_BYTES;
  my @values = (@$row{qw(timestamp kind bug_id is_public)}, $payload);
  if (${^TAINT}) { trick_taint($_) foreach @values }

  # The row gets the time of the change; with SQLite, asking for the current
  # time would call a slow function.
  handle()
    ->prepare_cached(
    'INSERT INTO sourcepulse_outbox (created_ts, kind, bug_id, is_public, payload) VALUES (?, ?, ?, ?, ?)'
  )->execute(@values);

  # Outside a transaction, each row gets a transaction id of its own.
  $dbh->{+TRANSACTION} = $transaction if $dbh->bz_in_transaction;
  $dbh->{+DIRTY}       = 1;
  return;
}

# It must be unique, not secret: reading /dev/urandom would cost more than the
# rest of the row.
sub _new_transaction {
  return sprintf('%08x' x 4, time, $$, rand(2**32), rand(2**32));
}

# Whether this transaction has written rows.
sub has_new_rows { return $_[0]->{+DIRTY}; }

sub forget_transaction {
  my ($dbh) = @_;
  @$dbh{DIRTY, TRANSACTION} = (0, undef);
  return;
}

# The last resort.
sub _missed {
  my ($thin, $reason) = @_;
  my $row = $thin && eval { $thin->('') };
  note_missed($row ? "$row->{kind} $row->{bug_id}" : 'unknown', $reason);
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Outbox - the table into which a change is
written, in the transaction of the change

=head1 DESCRIPTION

C<record> is the last call of every hook. Deadlocks, lock timeouts, lost
connections and full disks die as they would in Bugzilla's own next statement:
hiding them would make Bugzilla commit half a change. After any other error a
thin row is written, and if even that fails, a line by
L<Bugzilla::Extension::SourcePulse::MissedChanges>.

Rows are deleted when their events are durable elsewhere, never by a high-water
mark, because ids become visible in another order than they are assigned.
