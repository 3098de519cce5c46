# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::PrivatePeriods;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants qw(bz_locations);

use Bugzilla::Extension::SourcePulse::Database
  qw(execute now select_column select_rows select_value);
use Bugzilla::Extension::SourcePulse::Times qw(database_time epoch);

use base qw(Exporter);
our @EXPORT_OK
  = qw(note_group_end note_site periods_schema was_shown_before_closing);

# The subject of a row: the whole site, one bug, or the deletion of a group.
use constant {SITE => 'site', BUG => 'bug', GROUP => 'group'};

# Bugzilla writes its audit log in the transaction in which our hook runs.
use constant AUDIT_LAG_SECONDS => 60;

sub periods_schema {
  return {
    FIELDS => [
      id       => {TYPE => 'INTSERIAL',   NOTNULL => 1, PRIMARYKEY => 1},
      kind     => {TYPE => 'varchar(16)', NOTNULL => 1},
      bug_id   => {TYPE => 'INT4',        NOTNULL => 1, DEFAULT => 0},
      since_ts => {TYPE => 'DATETIME'},
      until_ts => {TYPE => 'DATETIME'},
    ],
    INDEXES => [sourcepulse_private_bug_id_idx => ['bug_id']],
  };
}

# -- recorded when it happens

# Called whenever the parameters have just been read: by the hooks while
# requirelogin is on, by drain.pl every few seconds, by the parameters page.
sub note_site {
  my ($is_open) = @_;
  my $is_closed = defined _closed_since();
  return if $is_open ? !$is_closed : $is_closed;
  if ($is_open) {
    execute(
      'UPDATE sourcepulse_private SET until_ts = ? WHERE kind = ? AND until_ts IS NULL',
      now(), SITE
    );
  }
  else {
    _insert(SITE, 0, _closing_time(), undef);
  }
  return;
}

# The bugs of a group that is about to be deleted were private until now, and
# afterwards neither their history nor any table shows it.
sub note_group_end {
  my ($group_id, $timestamp) = @_;
  execute(
    'INSERT INTO sourcepulse_private (kind, bug_id, until_ts)
      SELECT ?, bug_id, ? FROM bug_group_map WHERE group_id = ?', BUG, $timestamp,
    $group_id
  );
  _insert(GROUP, 0, undef, $timestamp);
  return;
}

# Whether a bug, which was in no group until this update, was visible to the
# public when the site was closed: it existed, and its groups have not changed.
sub was_shown_before_closing {
  my ($bug) = @_;
  my $since = _closed_since();
  return 0 unless defined $since && defined $bug->{creation_ts};
  return 0 unless epoch($bug->{creation_ts}) < epoch($since);
  return 0 unless _private_until($bug->id) < epoch($since);

  # It was in no group until this update, so a group that it had since then was
  # removed, by a line that may be of this same second.
  my @groups = select_column(
    'SELECT bugs_activity.removed FROM bugs_activity INNER JOIN fielddefs
        ON fielddefs.id = bugs_activity.fieldid
      WHERE bug_id = ? AND fielddefs.name = ? AND bug_when >= ?', $bug->id,
    'bug_group', $since
  );
  return (grep { defined && length } @groups) ? 0 : 1;
}

# Since when the site is closed; undef while it is open.
sub _closed_since {
  return select_value(
    'SELECT MIN(since_ts) FROM sourcepulse_private WHERE kind = ? AND until_ts IS NULL',
    SITE
  );
}

# -- queried later

sub new {
  my ($class) = @_;
  my $rows = select_rows(
    'SELECT since_ts, until_ts FROM sourcepulse_private WHERE kind = ?', SITE);
  my @site = map { [epoch($_->{since_ts}) || 0, epoch($_->{until_ts})] } @$rows;
  return bless {site => \@site, bugs => {}, doubt_until => _doubt_until()},
    $class;
}

# Whether a bug was private at that time for a reason that Bugzilla does not
# record; also true if that is unknown. HERE: when the bug was imported into
# this Bugzilla, if that was later: no group of that time can have contained it.
sub was_private {
  my ($self, $bug_id, $at, $here) = @_;
  $here = $at unless defined $here && $here > $at;
  return 1 if $here <= $self->{doubt_until};
  foreach my $period (@{$self->{site}}) {
    my ($since, $until) = @$period;
    foreach my $time ($at, $here) {
      return 1 if $since <= $time && (!defined $until || $time <= $until);
    }
  }
  $self->{bugs}->{$bug_id} = _private_until($bug_id)
    unless exists $self->{bugs}->{$bug_id};
  return $at <= $self->{bugs}->{$bug_id} ? 1 : 0;
}

sub _private_until {
  my ($bug_id) = @_;
  my $until
    = select_value(
    'SELECT MAX(until_ts) FROM sourcepulse_private WHERE kind = ? AND bug_id = ?',
    BUG, $bug_id);
  return epoch($until) || 0;
}

# The last deletion of a group while the extension was not installed: any bug
# could have been in that group.
sub _doubt_until {
  my @deleted = select_column(
    'SELECT at_time FROM audit_log WHERE class = ? AND field = ? ORDER BY at_time DESC',
    'Bugzilla::Group', '__remove__'
  );
  return 0 unless @deleted;
  my @noted
    = select_column('SELECT until_ts FROM sourcepulse_private WHERE kind = ?',
    GROUP);
  @noted = map { epoch($_) || 0 } @noted;
  foreach my $at (map { epoch($_) || 0 } @deleted) {
    return $at unless grep { abs($_ - $at) <= AUDIT_LAG_SECONDS } @noted;
  }
  return 0;
}

sub _insert {
  my (@values) = @_;
  execute(
    'INSERT INTO sourcepulse_private (kind, bug_id, since_ts, until_ts) VALUES (?, ?, ?, ?)',
    @values
  );
  return;
}

# The file of parameters may have been edited by hand: then the site was closed
# when the file was written, not when we noticed.
sub _closing_time {
  my $now      = now();
  my $modified = (stat(bz_locations()->{datadir} . '/params.json'))[9]
    || (stat(bz_locations()->{datadir} . '/params'))[9];
  return $now if !$modified || $modified >= (epoch($now) || 0);
  return database_time($modified);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::PrivatePeriods - when bugs were private for
reasons that Bugzilla itself does not record

=head1 DESCRIPTION

Bugzilla's history shows when a bug was in which groups, with two exceptions:
C<requirelogin> makes everything private, and the deletion of a group removes
its bugs from it, both without a line. The table C<sourcepulse_private> records
them as they happen, so that changes that are recovered later from the history
are not published by mistake.
