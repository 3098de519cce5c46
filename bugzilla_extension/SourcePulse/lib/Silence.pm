# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Silence;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database   qw(execute now select_value);
use Bugzilla::Extension::SourcePulse::Params     qw(active);
use Bugzilla::Extension::SourcePulse::Times      qw(epoch);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(note_last_row note_watch silent_since state_schema);

# Names in the state table: when the last fetched row was written, and since
# when rows are expected.
use constant {LAST_ROW => 'last_row', WATCHED_SINCE => 'watched_since'};

# How much newer than the last row a comment must be to be a problem, and how
# many of the newest comments are examined.
use constant {SILENCE_SECONDS => 10, COMMENTS_LOOKED_AT => 1000};

sub state_schema {
  return {
    FIELDS => [
      name  => {TYPE => 'varchar(64)',  NOTNULL => 1, PRIMARYKEY => 1},
      value => {TYPE => 'varchar(255)', NOTNULL => 1},
    ],
  };
}

# The time of the last row, or since when rows are expected; undef if all is
# well.
sub silent_since {
  return undef unless active() && site_is_public();
  my $waiting = select_value('SELECT MAX(created_ts) FROM sourcepulse_outbox');
  my ($known) = sort { $b <=> $a } map { epoch($_) || 0 } $waiting,
    _state_of(LAST_ROW), _state_of(WATCHED_SINCE);
  return undef unless $known;
  my $comment = select_value(
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
  return if $is_active && defined _state_of(WATCHED_SINCE);
  _set_state(WATCHED_SINCE, now());
  return;
}

sub note_last_row {
  my ($written) = @_;
  my $known = _state_of(LAST_ROW);
  _set_state(LAST_ROW, $written)
    if defined $written && (!defined $known || $written gt $known);
  return;
}

sub _state_of {
  my ($name) = @_;
  return select_value('SELECT value FROM sourcepulse_state WHERE name = ?',
    $name);
}

sub _set_state {
  my ($name, $value) = @_;
  execute('DELETE FROM sourcepulse_state WHERE name = ?', $name);
  execute('INSERT INTO sourcepulse_state (name, value) VALUES (?, ?)',
    $name, $value);
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Silence - whether the web server writes rows
at all

=head1 DESCRIPTION

A web server that cannot read the extension does not load it and reports no
error: Bugzilla then records public comments, but no row is written.
