# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::History;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(select_rows select_value);
use Bugzilla::Extension::SourcePulse::Json     qw(text);

use base qw(Exporter);
our @EXPORT_OK = qw(
  ATTACHMENT_PRIVACY_FIELD COMMENT_PRIVACY_FIELD GROUP_FIELD history_lines
  import_time is_toggled items_of place_before place_names_at public_around
);

use constant {
  GROUP_FIELD              => 'bug_group',
  COMMENT_PRIVACY_FIELD    => 'longdescs.isprivate',
  ATTACHMENT_PRIVACY_FIELD => 'attachments.isprivate',
};

sub history_lines {
  my ($where, @values) = @_;
  return select_rows(
    "SELECT bugs_activity.id, bugs_activity.bug_when, bugs_activity.who, bugs_activity.comment_id, bugs_activity.removed,
            bugs_activity.added, fielddefs.name
       FROM bugs_activity INNER JOIN fielddefs ON fielddefs.id = bugs_activity.fieldid
      WHERE $where ORDER BY bugs_activity.id", @values
  );
}

# Whether the public could see the bug before and after these lines: 1, 0, or
# undef if that is unknown because the groups were changed since.
sub public_around {
  my ($bug_id, $lines, $is_public_now) = @_;
  my ($first, @later) = sort { $a <=> $b } map { $_->{id} } @$lines;
  my $last = @later ? $later[-1] : $first;
  my $group_lines
    = history_lines(
    'bugs_activity.bug_id = ? AND fielddefs.name = ? AND bugs_activity.id >= ?',
    $bug_id, GROUP_FIELD, $first);
  return (undef,          undef) if grep { $_->{id} > $last } @$group_lines;
  return ($is_public_now, $is_public_now) unless @$group_lines;
  my ($removed, $added) = map {
    my $side = $_;
    [items_of(join('', map { text($_->{$side}) } @$group_lines))]
  } qw(removed added);
  return (@$removed && !@$added ? 0 : undef, 1) if $is_public_now;
  my $count = select_value('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?',
    $bug_id);

  # It was public if these lines added all groups that it is in now.
  return (!@$removed && @$added == $count ? 1 : undef, 0);
}

# The names of the bug's product and component at that time: the audit log
# records renames. If a name is unknown, today's is used only if the product is
# public.
sub place_names_at {
  my ($bug, $when, $place_now, $is_public) = @_;
  my @then;
  foreach my $each (
    ['Bugzilla::Product',   $bug->{product_id},   $place_now->[0]],
    ['Bugzilla::Component', $bug->{component_id}, $place_now->[1]]
    )
  {
    my ($class, $id, $now) = @$each;
    my $name = select_value(
      'SELECT removed FROM audit_log WHERE class = ? AND object_id = ? AND field = ?
        AND at_time >= ? ORDER BY at_time ' . Bugzilla->dbh->sql_limit(1), $class,
      $id, 'name', $when
    );
    push(@then, defined $name ? text($name) : $is_public ? $now : '');
  }
  return \@then;
}

# The product and component of the bug before these lines.
sub place_before {
  my ($bug_id, $first, $place_now) = @_;
  my $lines = history_lines(
    'bugs_activity.bug_id = ? AND fielddefs.name IN (?, ?) AND bugs_activity.id >= ?',
    $bug_id, 'product', 'component', $first
  );
  my %before = map { $_->{name} => text($_->{removed}) } reverse @$lines;
  return [
    defined $before{product}   ? $before{product}   : $place_now->[0],
    defined $before{component} ? $before{component} : $place_now->[1]
  ];
}

# Whether the privacy of a comment or an attachment was ever changed, after a
# given line if there is one.
sub is_toggled {
  my ($what, $id, $behind) = @_;
  my ($column, $field)
    = $what eq 'comment'
    ? ('comment_id', COMMENT_PRIVACY_FIELD)
    : ('attach_id', ATTACHMENT_PRIVACY_FIELD);
  return scalar @{
    history_lines(
      "bugs_activity.$column = ? AND fielddefs.name = ? AND bugs_activity.id > ?",
      $id, $field, $behind || 0)
  };
}

# The time at which importxml.pl imported a bug, if it did: the bug and most of
# its comments keep their original times.
sub import_time {
  my ($bug_id) = @_;
  return select_value(
    'SELECT MIN(bug_when) FROM longdescs
      WHERE bug_id = ? AND type = 0 AND thetext LIKE ?', $bug_id,
    "\n\n--- Bug imported by %"
  );
}

# Bugzilla joins the items of a list with commas.
sub items_of {
  return grep {length} split(/,\s*/, $_[0]);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::History - what Bugzilla's history shows of an
earlier time

=head1 DESCRIPTION

Lines are rows of C<bugs_activity> with the C<name> of their field.
