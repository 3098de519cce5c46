# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Snapshot;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants qw(
  FIELD_TYPE_BUG_ID FIELD_TYPE_BUG_URLS FIELD_TYPE_DATETIME
  FIELD_TYPE_MULTI_SELECT
);

use Bugzilla::Extension::SourcePulse::Json   qw(cut_text number text);
use Bugzilla::Extension::SourcePulse::Params qw(group_ids restricted);
use Bugzilla::Extension::SourcePulse::Times  qw(time_text);

use base qw(Exporter);
our @EXPORT_OK = qw(
  CMT_DUPE_OF CMT_HAS_DUPE COMMENT_COLUMNS RAW_VERSION bug_snapshot changed_parts
  comment_snapshot custom_fields hidden_comment_snapshot is_about_bug list_of
  mentions plain_changes
);

# Of a payload with snapshots; FillUpdate refuses any other.
use constant RAW_VERSION => 2;

# The types of comments that name another bug, by Bugzilla's number.
use constant {CMT_DUPE_OF => 1, CMT_HAS_DUPE => 2};

use constant COMMENT_COLUMNS =>
  qw(comment_id bug_id who bug_when thetext isprivate type extra_data);

use constant HIDDEN_COMMENT_COLUMNS =>
  qw(comment_id bug_id isprivate type extra_data);

use constant SOME_TEXT => '-';

# Columns of a bug as Bugzilla read them; people are converted later. Times are
# converted at once, because drain.pl may run in another time zone.
my @COLUMNS = qw(
  bug_id product_id component_id short_desc version op_sys rep_platform priority
  bug_severity target_milestone bug_status resolution status_whiteboard
  bug_file_loc assigned_to qa_contact reporter_id
);

# Lists of a bug by their names in events. During an update, Bugzilla has read
# all of them.
my %LIST = (
  alias      => \&_aliases,
  blocks     => sub { _numbers($_[0]->blocked) },
  cc         => sub { [map { $_->id + 0 } @{$_[0]->cc_users}] },
  depends_on => sub { _numbers($_[0]->dependson) },
  keywords   => sub { [sort map { text($_->name) } @{$_[0]->keyword_objects}] },
  see_also   => sub { [map { text($_->name) } @{$_[0]->see_also}] },
);

# The fields of Bugzilla's changes whose values are in snapshots.
my %LIST_OF_FIELD = (
  alias     => 'alias',
  blocked   => 'blocks',
  bug_group => 'groups',
  cc        => 'cc',
  dependson => 'depends_on',
  keywords  => 'keywords',
  see_also  => 'see_also',
);
my %PERSON = map { $_ => 1 } qw(assigned_to qa_contact);

# What events show of a bug, as plain data and without a statement. CUSTOM: its
# custom fields. An empty list and an empty custom field are left out.
sub bug_snapshot {
  my ($bug, @custom) = @_;
  my %snapshot;
  @snapshot{@COLUMNS} = @$bug{@COLUMNS};
  $snapshot{creation_time} = time_text($bug->{creation_ts});
  foreach my $name (keys %LIST) {
    my $list = $LIST{$name}->($bug);
    $snapshot{$name} = $list if @$list;
  }
  my $dupe_of = $bug->dup_id;
  $snapshot{dupe_of} = $dupe_of if $dupe_of;

  # Only the restricted stream has groups, and reading them costs a statement.
  $snapshot{groups} = _groups($bug) if restricted();
  _add_custom(\%snapshot, $bug, @custom);
  return \%snapshot;
}

# Of the bug before its update, only what changed and is not in CHANGES
# themselves, because there lists are text and people are logins.
sub changed_parts {
  my ($old_bug, $changes, @custom) = @_;
  my %parts;
  foreach my $field (keys %$changes) {
    if (my $name = $LIST_OF_FIELD{$field}) {
      if    ($name ne 'groups') { $parts{$name} = $LIST{$name}->($old_bug) }
      elsif (restricted())      { $parts{$name} = _groups($old_bug) }
    }
    elsif ($PERSON{$field}) {
      $parts{$field} = $old_bug->{$field};
    }
    elsif ($field eq 'dup_id') {
      $parts{dupe_of} = $changes->{$field}->[0];
    }
  }
  _add_custom(\%parts, $old_bug, grep { $changes->{$_->{name}} } @custom);
  return \%parts;
}

# Bugzilla's changes, with values only where no snapshot has them, as text, because
# other extensions may add objects.
sub plain_changes {
  my ($changes, @custom) = @_;
  my %custom = map { $_->{name} => 1 } @custom;
  return {
    map {
      $_ => $LIST_OF_FIELD{$_} || $PERSON{$_} || $custom{$_} || $_ eq 'flagtypes.name'
        ? []
        : [map { defined $_ ? text($_) : undef } @{$changes->{$_}}]
    } keys %$changes
  };
}

# The list of a snapshot that a field of Bugzilla's changes is about.
sub list_of { return $LIST_OF_FIELD{$_[0]}; }

# COMMENT: one of Bugzilla's objects. Its text is cut here, because a row is
# limited.
sub comment_snapshot {
  my ($comment) = @_;
  my %snapshot;
  @snapshot{(COMMENT_COLUMNS)} = @$comment{(COMMENT_COLUMNS)};
  $snapshot{creation_time} = time_text($comment->{bug_when});
  ($snapshot{thetext}, my $total) = cut_text(text($snapshot{thetext}));
  $snapshot{text_bytes} = $total if defined $total;
  return \%snapshot;
}

# Of a comment that was made private: what decides whether it was public before.
# Of its text, that is only whether there is one.
sub hidden_comment_snapshot {
  my ($comment) = @_;
  my %snapshot = map { $_ => $comment->{$_} } HIDDEN_COMMENT_COLUMNS;
  $snapshot{thetext} = text($comment->{thetext}) eq '' ? '' : SOME_TEXT;
  return \%snapshot;
}

sub is_about_bug {
  my ($type) = @_;
  return ($type || 0) == CMT_DUPE_OF || ($type || 0) == CMT_HAS_DUPE;
}

# Where snapshots of bugs and comments mention bugs, in the form of parts of
# events.
sub mentions {
  my ($bugs, $comments, @fields) = @_;
  my @custom
    = map { $_->{name} } grep { $_->{type} == FIELD_TYPE_BUG_ID } @fields;
  my @names = (qw(blocks depends_on dupe_of see_also), @custom);
  my @parts;
  foreach my $bug (@$bugs) {
    my %part = map { $_ => $bug->{$_} } grep { $bug->{$_} } @names;
    push(@parts, \%part) if %part;
  }
  foreach my $comment (@$comments) {
    push(@parts, {dupe_bug_id => $comment->{extra_data}})
      if is_about_bug($comment->{type});
  }
  return (\@custom, @parts);
}

sub custom_fields {
  return
    grep { $_->{type} != FIELD_TYPE_BUG_URLS } Bugzilla->active_custom_fields;
}

sub _add_custom {
  my ($snapshot, $bug, @fields) = @_;
  foreach my $field (@fields) {
    my $name = $field->{name};

    # Only lists are read on demand.
    my $value
      = $field->{type} == FIELD_TYPE_MULTI_SELECT ? $bug->$name : $bug->{$name};
    $value = time_text($value) if $field->{type} == FIELD_TYPE_DATETIME;
    $snapshot->{$name} = $value
      if ref $value ? @$value : defined $value && $value ne '';
  }
  return;
}

sub _aliases {
  my ($bug) = @_;
  my $alias = $bug->alias;

  # At most one alias before Bugzilla 5.0.
  return [map { text($_) }
      ref $alias ? @$alias : grep { defined && length } $alias];
}

sub _groups {
  my ($bug) = @_;
  my $ids = group_ids();
  return [map { text($ids ? $_->id : $_->name) }
      sort { $a->id <=> $b->id } @{$bug->groups_in}];
}

sub _numbers {
  my ($ids) = @_;
  return [grep {defined} map { number($_) } @$ids];
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Snapshot - a bug as its object is, as plain
data

=head1 DESCRIPTION

The hook of an update stores snapshots, which takes much less time than making
views; L<Bugzilla::Extension::SourcePulse::FillUpdate> makes the views from
them. Names are those of Bugzilla's columns, and of events for lists.
