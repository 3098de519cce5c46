# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Outbox;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Carp  ();
use DBI   ();
use Fcntl qw(O_APPEND O_CREAT O_NOFOLLOW O_WRONLY);

use Bugzilla::Constants qw(bz_locations);
use Bugzilla::Util      qw(trick_taint);

use Bugzilla::Extension::SourcePulse::Database   qw(handle now with_handle);
use Bugzilla::Extension::SourcePulse::Params     qw(active);
use Bugzilla::Extension::SourcePulse::Periods    qw(note_site);
use Bugzilla::Extension::SourcePulse::Values     qw(encode_json_text epoch);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK
  = qw(bury_row depth forget_missed is_fatal last_missed list_rows next_rows note_watch reason_of record remove_rows retry_rows stats);

use constant {TABLE => 'sourcepulse_outbox',
  STATE_TABLE => 'sourcepulse_state'};

# Names in the state table: when the last fetched row was written, and since
# when rows are expected.
use constant {LAST_ROW => 'last_row', WATCHED_SINCE => 'watched_since'};

# Bugzilla maps LONGTEXT to MySQL's MEDIUMTEXT, and a statement may be limited
# to 4 MB.
use constant PAYLOAD_MAX_BYTES => 2 * 1024 * 1024;
use constant MISSED_MAX_BYTES  => 1024 * 1024;

# Databases limit the placeholders of a statement.
use constant IDS_AT_ONCE => 500;

# How much newer than the last row a comment must be to be a problem, and how
# many of the newest comments are examined.
use constant {SILENCE_SECONDS => 10, COMMENTS_LOOKED_AT => 1000};

# Attributes of a database handle must have this prefix, or DBI drops them.
use constant {
  DIRTY       => 'private_sourcepulse_dirty',
  TRANSACTION => 'private_sourcepulse_transaction'
};

# The classes of SQLSTATE, and the error numbers of drivers without SQLSTATE,
# that end the whole transaction, or would have ended it without us: deadlocks,
# lock timeouts, lost connections, full disks.
my $FATAL_STATE  = qr/\A(?:08|40|53|57|58|55P03|XX)/;
my %FATAL_NUMBER = (
  mysql => {
    map { $_ => 1 } 1021,
    1053, 1114, 1205, 1213, 1614, 2002, 2003, 2006, 2013, 2055, 3098, 4031
  },
  sqlite => {map { $_ => 1 } 5, 6, 8, 10, 11, 13, 14, 26},
);

sub schema {
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

sub state_schema {
  return {
    FIELDS => [
      name  => {TYPE => 'varchar(64)',  NOTNULL => 1, PRIMARYKEY => 1},
      value => {TYPE => 'varchar(255)', NOTNULL => 1},
    ],
  };
}

# Runs MAKE, which returns rows (or undef), and stores them in the current
# transaction. THIN returns the row to store if MAKE fails. Dies only if
# Bugzilla's own next statement would also die.
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
    if (!$done->{ok} && !$done->{fatal}) {
      my $reason = $done->{reason};
      $done = _try(sub { $thin->($reason) });
      _missed($thin, $done->{reason}) if !$done->{ok} && !$done->{fatal};
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
  return {ok => 1} if $ok;
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

# Whether a database error ends more than its statement.
sub is_fatal {
  my ($dbh,    $error) = @_;
  my ($number, $state) = ($DBI::err, $DBI::state);

  # The text shows whether DBI's last error is this one.
  return 0
    unless $number && defined $DBI::errstr && index("$error", $DBI::errstr) >= 0;
  return 1 if $state && $state =~ $FATAL_STATE && $state ne 'S1000';
  my $driver = lc(eval { $dbh->{Driver}->{Name} } || ref $dbh);
  return 1 if $driver =~ /sqlite/ && $FATAL_NUMBER{sqlite}->{$number & 0xff};
  return 1 if $driver =~ /mysql|mariadb/ && $FATAL_NUMBER{mysql}->{$number};
  return 0;
}

# The first line is the message; later lines could contain values.
sub reason_of {
  my ($error) = @_;
  my ($line)  = split(/\n/, ref $error ? ref $error : "$error");
  $line = defined $line ? $line : 'unknown';
  $line =~ s/ \[for Statement.*//s;
  $line =~ s/"[^"]*"|'[^']*'/.../g;
  return substr($line, 0, 120);
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
    ->prepare_cached('INSERT INTO '
      . TABLE
      . ' (created_ts, kind, bug_id, is_public, payload) VALUES (?, ?, ?, ?, ?)')
    ->execute(@values);

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

# The last resort: one short line in a file, which makes the sidecar compare the
# whole history.
sub _missed {
  my ($thin, $reason) = @_;
  my $row  = eval { $thin->('') };
  my $what = $row ? "$row->{kind} $row->{bug_id}" : 'unknown';
  warn
    "SourcePulse: a change could not be queued; the next history scan will publish it ($what): $reason\n";
  my $path = missed_path();
  return if -e $path && -s _ > MISSED_MAX_BYTES;
  sysopen(my $file, $path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0660)
    or return;
  syswrite($file, time() . " $what $reason\n");
  close($file);
  return;
}

sub missed_path { return bz_locations()->{datadir} . '/sourcepulse.missed'; }

sub missed {
  open(my $file, '<', missed_path()) or return 0;
  my $count = () = <$file>;
  close($file);
  return $count;
}

# If a line is being written at this moment, the error log still has a copy.
sub forget_missed {
  my ($count) = @_;
  my $path = missed_path();
  rename($path, "$path.old")      or return;
  open(my $old, '<', "$path.old") or return;
  my @lines = <$old>;
  close($old);
  splice(@lines, 0, $count);
  if (@lines
    && sysopen(my $file, $path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0660))
  {
    syswrite($file, join('', @lines));
    close($file);
  }
  unlink("$path.old");
  return;
}

sub last_missed {
  open(my $file, '<', missed_path()) or return undef;
  my $last;
  while (defined(my $line = <$file>)) { $last = $line }
  close($file);
  return $last;
}

# A thin row of a public bug cannot be filled while visitors must log in,
# because the bug may have become private in the meantime.
use constant FILLABLE =>
  q{(payload NOT LIKE '%"thin":%' OR payload NOT LIKE '%"was":true%' AND payload NOT LIKE '%"is":true%')};

sub _waiting {
  return ' WHERE reason IS NULL' . (site_is_public() ? '' : ' AND ' . FILLABLE);
}

# The oldest waiting rows.
sub next_rows {
  my ($count, $most_bytes) = @_;
  my $dbh  = Bugzilla->dbh;
  my $size = 0;
  my @rows;

  # Read one row at a time, because a few can be larger than all others
  # together.
  my $statement
    = $dbh->prepare('SELECT id, kind, bug_id, created_ts, payload FROM '
      . TABLE
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
  my ($depth)
    = Bugzilla->dbh->selectrow_array(
    'SELECT COUNT(*) FROM ' . TABLE . _waiting());
  return $depth + 0;
}

sub remove_rows {
  my (@ids) = @_;
  return 0 unless @ids;
  my $dbh     = Bugzilla->dbh;
  my $deleted = 0;
  $dbh->bz_start_transaction;
  while (my @some = splice(@ids, 0, IDS_AT_ONCE)) {
    my $these = 'id IN (' . join(',', ('?') x @some) . ')';
    my ($last)
      = $dbh->selectrow_array(
      'SELECT MAX(created_ts) FROM ' . TABLE . " WHERE $these",
      undef, @some);
    $deleted += $dbh->do('DELETE FROM ' . TABLE . " WHERE $these", undef, @some);
    my $known = state_of(LAST_ROW);
    set_state(LAST_ROW, $last)
      if defined $last && (!defined $known || $last gt $known);
  }
  $dbh->bz_commit_transaction;
  return $deleted;
}

sub bury_row {
  my ($id, $reason) = @_;
  return 0 + Bugzilla->dbh->do('UPDATE ' . TABLE . ' SET reason = ? WHERE id = ?',
    undef, substr($reason, 0, 255), $id);
}

# Returns all buried rows, or one of them, to the queue.
sub retry_rows {
  my ($id) = @_;
  return 0 + Bugzilla->dbh->do(
    'UPDATE '
      . TABLE
      . ' SET reason = NULL WHERE reason IS NOT NULL'
      . ($id ? ' AND id = ?' : ''),
    undef,
    $id ? $id : ()
  );
}

# The oldest rows, without their payload, for the administrators' page.
sub list_rows {
  my ($are_buried, $count) = @_;
  return Bugzilla->dbh->selectall_arrayref(
    'SELECT id, created_ts, kind, bug_id, reason FROM '
      . TABLE
      . ' WHERE reason IS '
      . ($are_buried ? 'NOT NULL' : 'NULL')
      . ' ORDER BY id '
      . Bugzilla->dbh->sql_limit($count),
    {Slice => {}}
  );
}

sub stats {
  my ($now, $depth, $oldest)
    = Bugzilla->dbh->selectrow_array(
        'SELECT LOCALTIMESTAMP(0), COUNT(*), MIN(created_ts) FROM '
      . TABLE
      . ' WHERE reason IS NULL');
  my ($buried)
    = Bugzilla->dbh->selectrow_array(
    'SELECT COUNT(*) FROM ' . TABLE . ' WHERE reason IS NOT NULL');
  my ($from, $to) = (epoch($oldest), epoch($now));
  return {
    depth        => $depth + 0,
    buried       => $buried + 0,
    oldest_s     => defined $from ? $to - $from : undef,
    missed       => missed(),
    silent_since => silent_since(),
  };
}

# A web server that cannot read the extension does not load it and reports no
# error: Bugzilla then records public comments, but no row is written. Returns
# the time of the last row, or since when rows are expected; undef if all is
# well.
sub silent_since {
  return undef unless active() && site_is_public();
  my ($waiting)
    = Bugzilla->dbh->selectrow_array('SELECT MAX(created_ts) FROM ' . TABLE);
  my ($known) = sort { $b <=> $a } map { epoch($_) || 0 } $waiting,
    state_of(LAST_ROW), state_of(WATCHED_SINCE);
  return undef unless $known;
  my ($comment) = Bugzilla->dbh->selectrow_array(
    q{SELECT bug_when FROM longdescs WHERE isprivate = 0 AND thetext <> ''
        AND thetext NOT LIKE '%--- Bug imported by %'
        AND comment_id > (SELECT MAX(comment_id) FROM longdescs) - }
      . COMMENTS_LOOKED_AT . '
        AND NOT EXISTS (SELECT 1 FROM bug_group_map WHERE bug_group_map.bug_id = longdescs.bug_id)
      ORDER BY comment_id DESC ' . Bugzilla->dbh->sql_limit(1)
  );
  my $at = epoch($comment) || 0;
  return $at > $known + SILENCE_SECONDS ? $known + 0 : undef;
}

# Changes recorded while nothing was published are not a reason to warn.
sub note_watch {
  my $is_active = active() && site_is_public();
  return if $is_active && defined state_of(WATCHED_SINCE);
  set_state(WATCHED_SINCE, now());
  return;
}

sub state_of {
  my ($name) = @_;
  my ($value)
    = Bugzilla->dbh->selectrow_array(
    'SELECT value FROM ' . STATE_TABLE . ' WHERE name = ?',
    undef, $name);
  return $value;
}

sub set_state {
  my ($name, $value) = @_;
  trick_taint($value);
  my $dbh = Bugzilla->dbh;
  $dbh->do('DELETE FROM ' . STATE_TABLE . ' WHERE name = ?', undef, $name);
  $dbh->do('INSERT INTO ' . STATE_TABLE . ' (name, value) VALUES (?, ?)',
    undef, $name, $value);
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Outbox - the table into which a change is
written, in the transaction of the change

=head1 DESCRIPTION

Rows are deleted when their events are durable elsewhere, never by a high-water
mark, because ids become visible in another order than they are assigned.

=head1 FUNCTIONS

=over

=item C<record MAKE, THIN>

The last call of every hook. Deadlocks, lock timeouts, lost connections and full
disks die as they would in Bugzilla's own next statement: hiding them would make
Bugzilla commit half a change. After any other error a thin row is written, and
if even that fails, a line in F<data/sourcepulse.missed> and in the web server's
error log.

=item C<reason_of ERROR>

The first line of ERROR without statements and values, for logs.

=item C<is_fatal HANDLE, ERROR>

Whether ERROR, DBI's last one, ends more than its statement.

=item C<next_rows COUNT, MOST_BYTES>, C<depth>, C<remove_rows IDS>, C<bury_row ID, REASON>, C<retry_rows ID>, C<list_rows ARE_BURIED, COUNT>, C<stats>

The operations of drain.pl and the administrators' page on rows.

=item C<silent_since>, C<note_watch>, C<state_of NAME>, C<set_state NAME, VALUE>

Whether the web server writes rows at all.

=item C<schema>, C<state_schema>, C<missed>, C<last_missed>, C<forget_missed COUNT>, C<missed_path>

The tables for C<db_schema_abstract_schema>; the number of changes that could
not be queued, the last of them, the file that lists them, and the removal of
those that were found in the history.

=back
