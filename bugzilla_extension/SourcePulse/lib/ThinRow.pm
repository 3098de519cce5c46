# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::ThinRow;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database   qw(select_value);
use Bugzilla::Extension::SourcePulse::Json       qw(number truth);
use Bugzilla::Extension::SourcePulse::Times      qw(epoch);
use Bugzilla::Extension::SourcePulse::View       qw(PAYLOAD_VERSION);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(lines_of_update thin_row thin_row_now);

# The row to write if the facts cannot be read or serialized, or if there are
# too many: drain.pl reads them later. Whether the bug was public before and
# after must be recorded here, because it cannot be found out later.
sub thin_row {
  my ($kind, $bug_id, $timestamp, $reason, %more) = @_;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => 0,
    timestamp => $timestamp,
    payload   => {
      v        => PAYLOAD_VERSION,
      at       => epoch($timestamp),
      activity => undef,
      %more,
      was  => truth($more{was}),
      is   => truth($more{is}),
      thin => $reason,
    },
  };
}

# The same; where MORE does not have it, whether the bug is public now.
sub thin_row_now {
  my ($kind, $bug_id, $timestamp, $reason, %more) = @_;
  my $is_public
    = site_is_public()
    && !select_value('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?',
    $bug_id);
  return thin_row(
    $kind, $bug_id, $timestamp, $reason,
    was => $is_public,
    is  => $is_public,
    %more
  );
}

# Which lines of Bugzilla's history an update wrote. UPDATE: bug_id, attach_id,
# changes, comments (whose privacy it changed), activity (the last line), when, who.
sub lines_of_update {
  my ($update) = @_;
  require Bugzilla::Extension::SourcePulse::HistoryUpdates;
  my $first
    = Bugzilla::Extension::SourcePulse::HistoryUpdates::first_line_of($update);
  return (
    activity => number($update->{activity}),
    first    => number($first),
    who      => $update->{who},
  );
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::ThinRow - rows that only record that something
happened

=head1 DESCRIPTION

L<Bugzilla::Extension::SourcePulse::FillThinRow> reads the facts later, in
drain.pl.
