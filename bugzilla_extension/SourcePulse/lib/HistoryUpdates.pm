# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::HistoryUpdates;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(select_value);
use Bugzilla::Extension::SourcePulse::History  qw(
  ATTACHMENT_PRIVACY_FIELD COMMENT_PRIVACY_FIELD GROUP_FIELD history_lines
  items_of
);
use Bugzilla::Extension::SourcePulse::Json qw(text);

use base qw(Exporter);
our @EXPORT_OK = qw(is_other_side updates_of);

# Bugzilla::Bug::MAX_LINE_LENGTH, beyond which it breaks a value.
use constant LINE_CHARACTERS => 254;

# The field in which a dependency is recorded for the bug at its other end.
my %OTHER_END = (dependson => 'blocked', blocked => 'dependson');

# The lines of one person, bug and second, split where a field occurs again,
# because that is another update. Two updates without a common field are treated
# as one, and so are all updates of a second in which the bug or the attachment
# was hidden or shown: there the grouping of lines matters and is unknown.
sub updates_of {
  my ($bug_id, $lines) = @_;
  my (@updates, %there, $last);
  foreach my $line (@$lines) {
    my $key     = join(' ', $line->{name}, $line->{comment_id} || ());
    my $goes_on = $last && $last->[0] eq $key && _is_broken($last->[1], $line);
    if (!@updates || $there{$key} && !$goes_on) {
      push(@updates, []);
      %there = ();
    }
    push(@{$updates[-1]}, $line);
    $there{$key} = 1;
    $last = [$key, $line];
  }
  return ($lines) if @updates == 1 || _has_sight_line($bug_id, $lines);
  return @updates;
}

# Whether Bugzilla split a value into these two lines, because the first word of
# the second would have made the first too long.
sub _is_broken {
  my ($line, $next) = @_;
  foreach my $side (qw(removed added)) {
    my ($word) = text($next->{$side}) =~ /\A([,\s]*[^,\s-]*-?)/;
    return 1
      if $word ne ''
      && length(text($line->{$side})) + length($word) > LINE_CHARACTERS;
  }
  return 0;
}

sub _has_sight_line {
  my ($bug_id, $lines) = @_;
  return 1 if grep { $_->{name} eq ATTACHMENT_PRIVACY_FIELD } @$lines;
  return scalar @{
    history_lines(
      'bugs_activity.bug_id = ? AND bugs_activity.bug_when = ? AND fielddefs.name = ?',
      $bug_id, $lines->[0]->{bug_when}, GROUP_FIELD
    )
  };
}

# Whether a line was written by an update of the bug at the other end of a
# dependency: that update writes its own lines later, or filed the bug just
# then. UPDATE: bug_id, bug_when, who, as a list.
sub is_other_side {
  my ($update, $line) = @_;
  my ($bug_id, $when, $who) = @$update;
  my $field = $OTHER_END{$line->{name}} or return 0;
  my ($other) = grep {length} map { text($line->{$_}) } qw(removed added);
  return 0 unless defined $other && $other =~ /\A[0-9]+\z/;
  my $lines
    = history_lines(
    'bugs_activity.bug_id = ? AND bugs_activity.bug_when = ? AND bugs_activity.who = ? AND fielddefs.name = ?'
      . ' AND bugs_activity.id > ?',
    $other, $when, $who, $field, $line->{id});
  return 1
    if grep { $_ eq $bug_id }
    map { items_of(text($_->{removed})), items_of(text($_->{added})) } @$lines;
  my $filed
    = select_value(
    'SELECT COUNT(*) FROM bugs WHERE bug_id = ? AND creation_ts = ? AND reporter = ?',
    $other, $when, $who);
  return $filed ? 1 : 0;
}

# The first line that an update wrote, searching backwards from its last one;
# undef if that is uncertain. Earlier updates of the same person in the same
# second look alike, and may have been made while the bug was private. UPDATE:
# bug_id, attach_id, activity (the last line), who, when, changes (as the hook
# has them), comments (whose privacy it changed).
sub first_line_of {
  my ($update) = @_;
  return undef unless $update->{activity};
  my $attach_id = $update->{attach_id};
  my $lines     = history_lines(
    'bugs_activity.bug_id = ? AND bugs_activity.who = ? AND bugs_activity.bug_when = ? AND bugs_activity.id <= ?'
      . ' AND bugs_activity.attach_id '
      . (defined $attach_id ? '= ?' : 'IS NULL'),
    @$update{qw(bug_id who when activity)},
    defined $attach_id ? $attach_id : ()
  );
  my $open = _expected($update);
  my $first;
  foreach my $line (reverse @$lines) {
    last unless %$open;
    my $key = $line->{name};
    $key .= " $line->{comment_id}"
      if $key eq COMMENT_PRIVACY_FIELD && $line->{comment_id};
    next if $key eq 'work_time';
    my $field = $open->{$key} or return undef;
    $first              = $line->{id};
    $field->{read}->[0] = text($line->{removed}) . $field->{read}->[0];
    $field->{read}->[1] = text($line->{added}) . $field->{read}->[1];
    delete $open->{$key}
      if join("\0", @{$field->{read}}) eq join("\0", @{$field->{wanted}});
  }
  return %$open ? undef : $first;
}

# The changes that the lines of an update must add up to, by their field names.
sub _expected {
  my ($update) = @_;
  my %open;
  foreach my $field (keys %{$update->{changes}}) {
    next if $field eq 'dup_id';
    my @wanted = map { text($_) } @{$update->{changes}->{$field}};

    # Bugzilla writes no line if both sides are false.
    next unless $wanted[0] || $wanted[1];
    my $name = defined $update->{attach_id}
      && $field ne 'flagtypes.name' ? "attachments.$field" : $field;
    $open{$name} = {wanted => \@wanted, read => ['', '']};
  }
  foreach my $comment (@{$update->{comments} || []}) {
    my @wanted = $comment->{isprivate} ? (0, 1) : (1, 0);
    $open{COMMENT_PRIVACY_FIELD . " $comment->{comment_id}"}
      = {wanted => \@wanted, read => ['', '']};
  }
  return \%open;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::HistoryUpdates - which lines of the history
one update wrote
