# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::DB;

use 5.10.1;
use strict;
use warnings;

use DBI;
use POSIX ();

use Bugzilla::Constants;
use Bugzilla::Error;
use Bugzilla::Util;

our @ISA = ('DBI::db');

use constant BUSY_WAIT_MS => 30_000;

# As in Bugzilla 5.0, a handle of DBI in a class of Bugzilla's.
sub open {
  my ($class) = @_;
  my $path = bz_locations()->{datadir} . '/db';
  my $dbh = DBI->connect(
    "dbi:SQLite:dbname=$path", '', '',
    {
      RaiseError => 1, PrintError => 0, AutoCommit => 1, TaintIn => 1, ShowErrorStatement => 1, sqlite_unicode => 1,
      sqlite_use_immediate_transaction => 1, HandleError => \&_add_stack,
    }
  );
  $dbh->sqlite_busy_timeout(BUSY_WAIT_MS);
  $dbh->sqlite_create_function('LOCALTIMESTAMP', 1, \&_now);
  $dbh->do('PRAGMA foreign_keys = ON');
  # Tests kill processes, not the machine.
  $dbh->do('PRAGMA synchronous = OFF');
  $dbh->{private_bz_transaction_count} = 0;
  return bless $dbh, 'Bugzilla::DB::Sqlite';
}

# Tests move this clock, or for all processes the time of a file; databases return whole seconds.
our $now_s;

sub _now {
  my $now = defined $now_s ? $now_s : (stat(bz_locations()->{datadir} . '/clock'))[9];
  return POSIX::strftime('%Y-%m-%d %H:%M:%S', localtime(defined $now ? $now : time));
}

sub _add_stack {
  require Carp;
  $_[0] = Carp::longmess($_[0]);
  return 0;
}

sub bz_in_transaction { return $_[0]->{private_bz_transaction_count} ? 1 : 0; }

sub bz_start_transaction {
  my ($self) = @_;
  $self->begin_work unless $self->{private_bz_transaction_count};
  $self->{private_bz_transaction_count}++;
  return;
}

sub bz_commit_transaction {
  my ($self) = @_;
  if ($self->{private_bz_transaction_count} > 1) {
    $self->{private_bz_transaction_count}--;
  }
  elsif ($self->bz_in_transaction) {
    $self->commit;
    $self->{private_bz_transaction_count} = 0;
  }
  else {
    ThrowCodeError('not_in_transaction');
  }
  return;
}

# Everything at once, however deep.
sub bz_rollback_transaction {
  my ($self) = @_;
  ThrowCodeError('not_in_transaction') unless $self->bz_in_transaction;
  $self->rollback;
  $self->{private_bz_transaction_count} = 0;
  return;
}

sub bz_last_key { return $_[0]->last_insert_id(undef, undef, $_[1], $_[2]); }
sub sql_limit   { return "LIMIT $_[1]"; }

package Bugzilla::DB::Sqlite;

our @ISA = ('Bugzilla::DB');

1;
