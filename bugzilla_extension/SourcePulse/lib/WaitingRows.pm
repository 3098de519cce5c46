# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::WaitingRows;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database
  qw(can_be_id execute execute_in select_in select_row select_rows
  select_value);
use Bugzilla::Extension::SourcePulse::MissedChanges qw(count_missed);
use Bugzilla::Extension::SourcePulse::Silence    qw(note_last_row silent_since);
use Bugzilla::Extension::SourcePulse::Times      qw(epoch);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK
  = qw(bury_row depth list_rows next_rows remove_rows retry_rows stats);

# The width of the column.
use constant REASON_MAX_CHARS => 255;

# A thin row of a public bug cannot be filled while visitors must log in,
# because the bug may have become private in the meantime.
use constant FILLABLE =>
  q{(payload NOT LIKE '%"thin":%' OR payload NOT LIKE '%"was":true%' AND payload NOT LIKE '%"is":true%')};

# The oldest waiting rows.
sub next_rows {
  my ($count, $most_bytes) = @_;
  my $dbh  = Bugzilla->dbh;
  my $size = 0;
  my @rows;

  # Read one row at a time, because a few can be larger than all others
  # together.
  my $statement
    = $dbh->prepare(
        'SELECT id, kind, bug_id, created_ts, payload FROM sourcepulse_outbox'
      . _waiting()
      . ' ORDER BY id '
      . $dbh->sql_limit($count));
  $statement->execute;
  while (my $row = $statement->fetchrow_hashref('NAME_lc')) {
    $size += length($row->{payload});
    last if @rows && $size > $most_bytes;
    push(@rows, {%$row});
  }
  $statement->finish;
  return \@rows;
}

# How many rows next_rows() would return in total.
sub depth {
  return select_value('SELECT COUNT(*) FROM sourcepulse_outbox' . _waiting()) + 0;
}

# Rows whose events are durable elsewhere.
sub remove_rows {
  my (@ids) = @_;
  return 0 unless @ids;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  my $from = ' FROM sourcepulse_outbox WHERE id';
  note_last_row($_->[0])
    foreach @{select_in("SELECT MAX(created_ts)$from", @ids)};
  my $deleted = execute_in("DELETE$from", @ids);
  $dbh->bz_commit_transaction;
  return $deleted;
}

sub bury_row {
  my ($id, $reason) = @_;
  return execute('UPDATE sourcepulse_outbox SET reason = ? WHERE id = ?',
    substr($reason, 0, REASON_MAX_CHARS), $id);
}

# Returns all buried rows, or one of them, to the queue.
sub retry_rows {
  my ($id) = @_;
  return 0 if $id && !can_be_id($id);
  return execute(
    'UPDATE sourcepulse_outbox SET reason = NULL WHERE reason IS NOT NULL'
      . ($id ? ' AND id = ?' : ''),
    $id || ()
  );
}

# The oldest rows, without their payload, for the administrators' page.
sub list_rows {
  my ($are_buried, $count) = @_;
  return select_rows(
    'SELECT id, created_ts, kind, bug_id, reason FROM sourcepulse_outbox WHERE reason IS '
      . ($are_buried ? 'NOT NULL' : 'NULL')
      . ' ORDER BY id '
      . Bugzilla->dbh->sql_limit($count));
}

sub stats {
  my ($now, $depth, $oldest)
    = select_row(
    'SELECT LOCALTIMESTAMP(0), COUNT(*), MIN(created_ts) FROM sourcepulse_outbox WHERE reason IS NULL'
    );
  my $buried = select_value(
    'SELECT COUNT(*) FROM sourcepulse_outbox WHERE reason IS NOT NULL');
  my ($from, $to) = (epoch($oldest), epoch($now));
  return {
    depth        => $depth + 0,
    buried       => $buried + 0,
    oldest_s     => defined $from ? $to - $from : undef,
    missed       => count_missed(),
    silent_since => silent_since(),
  };
}

sub _waiting {
  return ' WHERE reason IS NULL' . (site_is_public() ? '' : ' AND ' . FILLABLE);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::WaitingRows - the rows of the outbox, for the
sidecar and for administrators
