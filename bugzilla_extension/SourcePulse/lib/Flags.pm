# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Flags;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(select_rows);
use Bugzilla::Extension::SourcePulse::Json     qw(number text);

use base qw(Exporter);
our @EXPORT_OK = qw(CLEARED flag_changes flags_of_bug flags_of_type);

use constant CLEARED => 'X';

# Compares two lists of rows; the result has both and what was done between
# them: flags that were set, with the new status, and flags that were cleared, as
# they were. A flag that only moved to another type of the same name is omitted.
sub flag_changes {
  my ($before, $after) = @_;
  my %before = map { $_->{id} => $_ } @$before;
  my @done;
  foreach my $flag (@$after) {
    my $old = delete $before{$flag->{id}};
    push(@done, {row => $flag, status => $flag->{status}})
      if !$old || _word($old) ne _word($flag);
  }
  push(@done,
    map { {row => $_, status => CLEARED} }
    sort { $a->{id} <=> $b->{id} } values %before);
  return {before => $before, after => $after, done => \@done};
}

# All flags of a bug and of its attachments as the database has them now,
# because moving a bug removes flags without updating the objects.
sub flags_of_bug { return _rows('flags.bug_id', $_[0]); }

sub flags_of_type { return _rows('flags.type_id', $_[0]); }

sub _rows {
  my ($column, $value) = @_;
  my $rows = select_rows(
    "SELECT flags.id, flagtypes.name, flags.type_id, flags.status, flags.setter_id, flags.requestee_id, flags.attach_id,
            flags.bug_id
       FROM flags INNER JOIN flagtypes ON flagtypes.id = flags.type_id
      WHERE $column = ? ORDER BY flags.id", $value
  );
  foreach my $row (@$rows) {
    $row->{$_} = number($row->{$_}) foreach qw(id type_id bug_id);
    $row->{$_} = text($row->{$_})   foreach qw(name status);
  }
  return $rows;
}

sub _word {
  my ($flag) = @_;
  return join("\0", $flag->{name}, $flag->{status}, $flag->{requestee_id} || 0);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Flags - which flags an update set and cleared
