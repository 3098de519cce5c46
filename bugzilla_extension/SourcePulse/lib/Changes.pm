# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Changes;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Facts    qw(custom_value);
use Bugzilla::Extension::SourcePulse::Json     qw(number text truth);
use Bugzilla::Extension::SourcePulse::Params   qw(restricted);
use Bugzilla::Extension::SourcePulse::Snapshot qw(list_of);

use base qw(Exporter);
our @EXPORT_OK = qw(attachment_changes bug_changes flag_item is_truth name_of);

# Bugzilla's columns that have another name in REST's history.
my %NAME = (
  blocked             => 'blocks',
  bug_file_loc        => 'url',
  bug_group           => 'groups',
  bug_severity        => 'severity',
  bug_status          => 'status',
  cclist_accessible   => 'is_cc_accessible',
  dependson           => 'depends_on',
  description         => 'summary',
  dup_id              => 'dupe_of',
  everconfirmed       => 'is_confirmed',
  filename            => 'file_name',
  isactive            => 'is_active',
  isobsolete          => 'is_obsolete',
  ispatch             => 'is_patch',
  isprivate           => 'is_private',
  mimetype            => 'content_type',
  rep_platform        => 'platform',
  reporter            => 'creator',
  reporter_accessible => 'is_creator_accessible',
  short_desc          => 'summary',
  status_whiteboard   => 'whiteboard',
);

my %IS_TRUTH = map { $_ => 1 }
  qw(cclist_accessible everconfirmed isactive isobsolete ispatch isprivate reporter_accessible);

sub name_of { return $NAME{$_[0]} || $_[0]; }

sub is_truth { return $IS_TRUTH{$_[0]}; }

my %PERSON = map { $_ => 1 } qw(assigned_to qa_contact);

# BUG and OLD_BUG: snapshots, because Bugzilla joins lists with commas. FLAGS: as
# flag_changes() returns them. CUSTOM: the custom fields of the snapshots.
sub bug_changes {
  my ($logins, $bug, $old_bug, $changes, $flags, $custom) = @_;
  my %custom     = map { $_->{name} => $_ } @$custom;
  my $restricted = restricted();
  my @changes;
  foreach my $field (sort keys %$changes) {
    my ($removed, $added) = @{$changes->{$field}};
    if ($field eq 'flagtypes.name') {
      ($removed, $added)
        = _flags($logins,
        map { [grep { !$_->{attach_id} } @$_] } @$flags{qw(before after)});
    }
    elsif (my $custom = $custom{$field}) {
      ($removed, $added) = map { custom_value($custom, $_) } $old_bug, $bug;
      ($removed, $added) = _difference($removed, $added) if ref $removed;
    }
    elsif (my $name = list_of($field)) {
      next if $field eq 'bug_group' && !$restricted;
      my @lists = map { $_->{$name} || [] } $old_bug, $bug;
      @lists = map { $logins->people(@$_) } @lists if $field eq 'cc';
      ($removed, $added) = _difference(@lists);
    }
    elsif ($PERSON{$field}) {
      ($removed, $added) = map { $logins->person($_->{$field}) } $old_bug, $bug;
    }
    elsif ($field eq 'dup_id') {
      ($removed, $added) = map { number($_) } $removed, $added;
    }
    else {
      ($removed, $added) = map { _plain($field, $_) } $removed, $added;
    }
    push(@changes,
      {field_name => name_of($field), removed => $removed, added => $added});
  }
  return \@changes;
}

sub attachment_changes {
  my ($logins, $changes, $flags) = @_;
  my @changes;
  foreach my $field (sort keys %$changes) {
    my ($removed, $added)
      = $field eq 'flagtypes.name'
      ? _flags($logins, @$flags{qw(before after)})
      : map { _plain($field, $_) } @{$changes->{$field}};
    push(@changes,
      {field_name => name_of($field), removed => $removed, added => $added});
  }
  return \@changes;
}

# A flag in a change, not yet as text: how the person is named depends on the
# stream. PERSON may be undef.
sub flag_item {
  my ($word, $person) = @_;
  return {word => $word, person => $person};
}

sub _plain {
  my ($field, $value) = @_;
  return truth($value) if $IS_TRUTH{$field};
  return defined $value ? text($value) : undef;
}

sub _flags {
  my ($logins, @both) = @_;
  return _difference(
    map { [
      map { flag_item("$_->{name}$_->{status}", $logins->person($_->{requestee_id})) }
        @$_
    ] } @both
  );
}

# Items that are in only one of two lists; equal items are counted, because a
# flag can occur twice.
sub _difference {
  my ($before, $after) = @_;
  my %count;
  $count{_key($_)}-- foreach @$before;
  $count{_key($_)}++ foreach @$after;
  my (@removed, @added);
  foreach my $item (@$before) {
    my $key = _key($item);
    push(@removed, $item) if $count{$key} < 0 && $count{$key}++ < 0;
  }
  foreach my $item (@$after) {
    my $key = _key($item);
    push(@added, $item) if $count{$key} > 0 && $count{$key}-- > 0;
  }
  return (\@removed, \@added);
}

# A copy, because JSON encodes a number that was used as a key as a string.
sub _key {
  my ($item) = @_;
  return "$item"         unless ref $item;
  return $item->{id} + 0 unless exists $item->{word};
  return
    join("\0", $item->{word}, $item->{person} ? $item->{person}->{id} + 0 : '');
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Changes - what an update changed, typed, with
the names of REST's history

=head1 DESCRIPTION

The changes are complete, with whole logins and all numbers;
L<Bugzilla::Extension::SourcePulse::View> decides which stream gets which of
them. The items of C<flagtypes.name> are not text yet, because each stream names
the person differently. The changes of a bug never include the flags of its
attachments, wherever Bugzilla records them.
