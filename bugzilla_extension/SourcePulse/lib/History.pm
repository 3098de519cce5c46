# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::History;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants
  qw(FIELD_TYPE_BUG_ID FIELD_TYPE_DATETIME FIELD_TYPE_MULTI_SELECT);

use Bugzilla::Extension::SourcePulse::Changes  qw(flag_item is_truth name_of);
use Bugzilla::Extension::SourcePulse::Database qw(handle);
use Bugzilla::Extension::SourcePulse::Facts    qw();
use Bugzilla::Extension::SourcePulse::Values   qw(number text time_text truth);

use base qw(Exporter);
our @EXPORT_OK = qw(
  first_line_of history_changes history_fields history_lines import_time
  is_other_side is_toggled place_before place_names_at public_around updates_of
);

use constant {
  GROUP_FIELD              => 'bug_group',
  COMMENT_PRIVACY_FIELD    => 'longdescs.isprivate',
  ATTACHMENT_PRIVACY_FIELD => 'attachments.isprivate',
};

# Bugzilla::Bug::MAX_LINE_LENGTH, beyond which it breaks a value.
use constant LINE_CHARACTERS => 254;

my %IS_LIST   = map { $_ => 1 } qw(alias bug_group keywords see_also);
my %IS_PERSON = map { $_ => 1 } qw(assigned_to qa_contact reporter);

sub history_lines {
  my ($where, @values) = @_;
  return handle()->selectall_arrayref(
    "SELECT bugs_activity.id, bugs_activity.bug_when, bugs_activity.who, bugs_activity.comment_id, bugs_activity.removed,
            bugs_activity.added, fielddefs.name
       FROM bugs_activity INNER JOIN fielddefs ON fielddefs.id = bugs_activity.fieldid
      WHERE $where ORDER BY bugs_activity.id", {Slice => {}}, @values
  );
}

# The lines of one update, joined by field, because Bugzilla splits long values
# into several lines.
sub history_fields {
  my ($lines) = @_;
  my %fields;
  foreach my $line (sort { $a->{id} <=> $b->{id} } @$lines) {
    my $field = $line->{name};
    next if $field eq COMMENT_PRIVACY_FIELD || $field eq 'work_time';
    $field =~ s/\Aattachments\.//;
    $fields{$field}->[0] .= text($line->{removed});
    $fields{$field}->[1] .= text($line->{added});
  }
  return \%fields;
}

# The lines of one person, bug and second, split where a field occurs again,
# because that is another update. Two updates without a common field are treated
# as one, and so are all updates of a second in which the bug or the attachment
# was hidden or shown: there the grouping of lines matters and is unknown.
sub updates_of {
  my ($bug_id, $lines) = @_;
  my (@updates, %there, $last);
  foreach my $line (@$lines) {
    my $key = join(' ', $line->{name}, $line->{comment_id} || ());
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
      if $word ne '' && length(text($line->{$side})) + length($word) > LINE_CHARACTERS;
  }
  return 0;
}

sub _has_sight_line {
  my ($bug_id, $lines) = @_;
  return 1 if grep { $_->{name} eq ATTACHMENT_PRIVACY_FIELD } @$lines;
  return scalar @{
    history_lines('bugs_activity.bug_id = ? AND bugs_activity.bug_when = ? AND fielddefs.name = ?',
      $bug_id, $lines->[0]->{bug_when}, GROUP_FIELD)
  };
}

# The same as Changes::bug_changes() and Changes::attachment_changes() return,
# from the text in the history.
sub history_changes {
  my ($logins, $fields) = @_;
  my $moved  = $fields->{product} || $fields->{component};
  my %custom = map { $_->{name} => $_->{type} } Bugzilla->active_custom_fields;
  my @changes;
  foreach my $field (sort keys %$fields) {
    my %change = (field_name => name_of($field));
    foreach my $side (0, 1) {
      my $said = $fields->{$field}->[$side];
      my $value
        = $field eq 'flagtypes.name'
        ? _flags($logins, $said, $moved)
        : _value($logins, $field, $custom{$field}, $said);

      # The person is no longer known, but the change still happened.
      $change{is_vague} = 1
        if _is_person($field) && $said ne '' && !_has_all($value, $said);
      $change{$side ? 'added' : 'removed'} = $value;
    }
    push(@changes, \%change);
  }
  return \@changes;
}

sub _value {
  my ($logins, $field, $custom_type, $said) = @_;
  return truth($said) if is_truth($field);
  my @items = _items($said);
  return _people($logins, @items) if $field eq 'cc';
  return [map { number($_) } @items]
    if $field eq 'dependson' || $field eq 'blocked';
  return \@items                         if $IS_LIST{$field};
  return $logins->person_of_login($said) if $IS_PERSON{$field};
  return defined $custom_type ? _custom($custom_type, $said, \@items) : $said;
}

# In the form of Facts::custom_value().
sub _custom {
  my ($type, $said, $items) = @_;
  return $items                 if $type == FIELD_TYPE_MULTI_SELECT;
  return number($said) || undef if $type == FIELD_TYPE_BUG_ID;
  return number($said eq '' ? 0 : $said)
    if $type == Bugzilla::Extension::SourcePulse::Facts::TYPE_INTEGER;
  if ($type == FIELD_TYPE_DATETIME) {
    return $said eq '' ? undef : time_text($said);
  }
  return $said eq '' ? undef : substr($said, 0, 10)
    if $type == Bugzilla::Extension::SourcePulse::Facts::TYPE_DATE;
  return $said;
}

sub _items {
  return grep {length} split(/,\s*/, $_[0]);
}

sub _people {
  my ($logins, @items) = @_;
  return [sort { $a->{id} <=> $b->{id} }
      grep {$_} map { $logins->person_of_login($_) } @items];
}

sub _is_person { return $_[0] eq 'cc' || $IS_PERSON{$_[0]}; }

sub _has_all {
  my ($value, $said) = @_;
  return $value                   ? 1 : 0 unless ref $value eq 'ARRAY';
  return @$value == _items($said) ? 1 : 0;
}

# "review?(bob@example.org)": the history has the login. When a bug is moved,
# Bugzilla records the flags that attachments lost among those of the bug, so
# items that may be flags of an attachment are omitted.
sub _flags {
  my ($logins, $said, $moved) = @_;
  my $types = $moved ? _flag_types() : undef;
  my @items;
  foreach my $word (_items($said)) {
    my ($flag, $login)
      = $word =~ /\A(.*)\(([^()]*)\)\z/s ? ($1, $2) : ($word, undef);
    if ($types) {
      my ($name) = $flag =~ /\A(.*)[?+-]\z/s;
      next unless defined $name && $types->{b}->{$name} && !$types->{a}->{$name};
    }
    push(@items, flag_item($flag, $logins->person_of_login($login)));
  }
  return \@items;
}

sub _flag_types {
  my $rows
    = handle()->selectall_arrayref('SELECT name, target_type FROM flagtypes');
  my %types = (a => {}, b => {});
  $types{$_->[1]}->{$_->[0]} = 1 foreach @$rows;
  return \%types;
}

# Whether the public could see the bug before and after these lines: 1, 0, or
# undef if that is unknown because the groups were changed since.
sub public_around {
  my ($bug_id, $lines, $is_public_now) = @_;
  my ($first, $last) = _ends($lines);
  my $group_lines
    = history_lines(
    'bugs_activity.bug_id = ? AND fielddefs.name = ? AND bugs_activity.id >= ?',
    $bug_id, GROUP_FIELD, $first);
  return (undef,          undef) if grep { $_->{id} > $last } @$group_lines;
  return ($is_public_now, $is_public_now) unless @$group_lines;
  my ($removed, $added) = map {
    my $side = $_;
    [_items(join('', map { text($_->{$side}) } @$group_lines))]
  } qw(removed added);
  return (@$removed && !@$added ? 0 : undef, 1) if $is_public_now;
  my ($count)
    = handle()
    ->selectrow_array('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?',
    undef, $bug_id);

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
    my ($name) = handle()->selectrow_array(
      'SELECT removed FROM audit_log WHERE class = ? AND object_id = ? AND field = ?
        AND at_time >= ? ORDER BY at_time ' . Bugzilla->dbh->sql_limit(1), undef,
      $class, $id, 'name', $when
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

# Whether a line was written by an update of the bug at the other end of a
# dependency: that update writes its own lines later, or filed the bug just
# then. UPDATE: bug_id, bug_when, who, as a list.
my %OTHER_END = (dependson => 'blocked', blocked => 'dependson');

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
    map { _items(text($_->{removed})), _items(text($_->{added})) } @$lines;
  my ($filed) = handle()->selectrow_array(
    'SELECT COUNT(*) FROM bugs WHERE bug_id = ? AND creation_ts = ? AND reporter = ?',
    undef, $other, $when, $who
  );
  return $filed ? 1 : 0;
}

# The time at which importxml.pl imported a bug, if it did: the bug and most of
# its comments keep their original times.
sub import_time {
  my ($bug_id) = @_;
  my ($time)   = handle()->selectrow_array(
    'SELECT MIN(bug_when) FROM longdescs
      WHERE bug_id = ? AND type = 0 AND thetext LIKE ?', undef, $bug_id,
    "\n\n--- Bug imported by %"
  );
  return $time;
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

sub _ends {
  my ($lines) = @_;
  my @ids = sort { $a <=> $b } map { $_->{id} } @$lines;
  return ($ids[0] || 0, $ids[-1] || 0);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::History - what Bugzilla's history still shows
of an update

=head1 DESCRIPTION

Lines are rows of C<bugs_activity> with the C<name> of their field.

=head1 FUNCTIONS

=over

=item C<history_lines WHERE, VALUES>, C<history_fields LINES>, C<history_changes LOGINS, FIELDS>

The lines; the lines of one update joined by field; its changes, as
L<Bugzilla::Extension::SourcePulse::Changes> returns them.

=item C<public_around BUG_ID, LINES, IS_PUBLIC_NOW>

Whether the bug was public before and after.

=item C<place_before BUG_ID, ID, PLACE>

Its product and component before a line.

=item C<place_names_at BUG, WHEN, PLACE_NOW, IS_PUBLIC>

The names of its product and component at that time.

=item C<is_toggled WHAT, ID, BEHIND>

Whether the privacy of a C<comment> or C<attachment> was changed.

=item C<is_other_side UPDATE, LINE>

Whether a line belongs to an update of the bug at the other end of a dependency.

=item C<updates_of BUG_ID, LINES>

The lines of one person and second, split into updates as far as that is
certain.

=item C<import_time BUG_ID>

The time at which F<importxml.pl> imported the bug.

=item C<first_line_of UPDATE>

The first line that an update wrote, for rows that could only be written thin.

=back
