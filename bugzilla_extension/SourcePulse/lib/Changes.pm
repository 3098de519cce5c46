# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Changes;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Facts;
use Bugzilla::Extension::SourcePulse::Values qw(text truth);

# The names that REST's history has for Bugzilla's columns.
my %NAME = (
  blocked             => 'blocks',
  bug_file_loc        => 'url',
  bug_group           => 'groups',
  bug_severity        => 'severity',
  bug_status          => 'status',
  cclist_accessible   => 'is_cc_accessible',
  dependson           => 'depends_on',
  dup_id              => 'dupe_of',
  everconfirmed       => 'is_confirmed',
  filename            => 'file_name',
  description         => 'summary',
  mimetype            => 'content_type',
  isobsolete          => 'is_obsolete',
  ispatch             => 'is_patch',
  isprivate           => 'is_private',
  rep_platform        => 'platform',
  reporter            => 'creator',
  reporter_accessible => 'is_creator_accessible',
  short_desc          => 'summary',
  status_whiteboard   => 'whiteboard',
);

my %IS_TRUTH = map { $_ => 1 }
  qw(cclist_accessible everconfirmed isobsolete ispatch isprivate reporter_accessible);

# Bugzilla joins these with commas; the objects still have each by itself. Called with an audience and a bug.
my %LIST = (
  alias     => sub { Bugzilla::Extension::SourcePulse::Facts::aliases($_[1]) },
  blocked   => sub { $_[0]->bug_ids(@{$_[1]->blocked}) },
  bug_group => sub { $_[0]->groups(@{$_[1]->groups_in}) },
  cc        => sub { $_[0]->people(map { $_->id } @{$_[1]->cc_users}) },
  dependson => sub { $_[0]->bug_ids(@{$_[1]->dependson}) },
  keywords  => sub { Bugzilla::Extension::SourcePulse::Facts::keywords($_[1]) },
  see_also  => sub { $_[0]->see_also(@{$_[1]->see_also}) },
);

sub of_bug {
  my ($audience, $bug, $old_bug, $changes, $flags) = @_;
  my %custom = map { $_->{name} => $_ } Bugzilla->active_custom_fields;
  my @said;
  foreach my $field (keys %$changes) {
    next unless $audience->takes_field($field);
    my ($removed, $added) = @{$changes->{$field}};
    if ($field eq 'flagtypes.name') {
      ($removed, $added) = _flags($audience, $flags);
    }
    elsif (my $custom = $custom{$field}) {
      ($removed, $added) = _custom($audience, $custom, $bug, $old_bug);
    }
    elsif (my $list = $LIST{$field}) {
      ($removed, $added) = _difference($list->($audience, $old_bug), $list->($audience, $bug));
    }
    elsif ($field eq 'assigned_to') {
      ($removed, $added) = map { $audience->person($_->{assigned_to}) } $old_bug, $bug;
    }
    elsif ($field eq 'qa_contact') {
      ($removed, $added) = map { $audience->person($_->{qa_contact}) } $old_bug, $bug;
    }
    elsif ($field eq 'dup_id') {
      ($removed, $added) = map { $audience->bug_id($_) } $removed, $added;
    }
    else {
      # A field of another extension, or a custom one that is not in use any more.
      next if $audience->is_public && $field =~ /\Acf_/;
      ($removed, $added) = map { _plain($field, $_) } $removed, $added;
    }
    push(@said, _change($field, $removed, $added));
  }
  return sorted(@said);
}

sub of_attachment {
  my ($audience, $changes, $flags) = @_;
  my @said;
  foreach my $field (keys %$changes) {
    my ($removed, $added)
      = $field eq 'flagtypes.name' ? _flags($audience, $flags) : map { _plain($field, $_) } @{$changes->{$field}};
    push(@said, _change($field, $removed, $added));
  }
  return sorted(@said);
}

# What only the history says, in words; persons are told where the login is known.
sub name_of { return $NAME{$_[0]} || $_[0]; }

sub _change {
  my ($field, $removed, $added) = @_;
  return {field_name => name_of($field), removed => $removed, added => $added};
}

# Nothing is left of a change if all that it was about may not be told.
sub sorted {
  my @left = grep { !_says_nothing($_->{removed}) || !_says_nothing($_->{added}) } @_;
  return [sort { $a->{field_name} cmp $b->{field_name} } @left];
}

sub _says_nothing {
  my ($value) = @_;
  return !defined $value || (ref $value eq 'ARRAY' && !@$value) ? 1 : 0;
}

sub _plain {
  my ($field, $value) = @_;
  return truth($value) if $IS_TRUTH{$field};
  return defined $value ? text($value) : undef;
}

sub _custom {
  my ($audience, $field, $bug, $old_bug) = @_;
  my ($removed, $added)
    = map { Bugzilla::Extension::SourcePulse::Facts::custom_value($audience, $field, $_) } $old_bug, $bug;
  return ref $removed ? _difference($removed, $added) : ($removed, $added);
}

sub _flags {
  my ($audience, $flags) = @_;
  my ($before, $after)
    = map { [map { Bugzilla::Extension::SourcePulse::Facts::flag_word($audience, $_) } @$_] } @$flags{qw(before after)};
  return _difference($before, $after);
}

# What stands only in one of two lists; equal items are counted, for a flag can be there twice.
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

# A copy, because a number that was once used as a key is a string to JSON.
sub _key {
  my ($item) = @_;
  return ref $item ? $item->{id} + 0 : "$item";
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Changes - what an update changed, typed, by the names of REST's history

=head1 FUNCTIONS

=over

=item C<of_bug AUDIENCE, BUG, OLD_BUG, CHANGES, FLAGS>

CHANGES is the hash that Bugzilla gives C<bug_end_of_update>, FLAGS what L<Bugzilla::Extension::SourcePulse::Flags> found. Of a list field there
is what went and what came, of any other its value before and after. A list of what an audience may not know is left out.

=item C<of_attachment AUDIENCE, CHANGES, FLAGS>

The same for an attachment.

=item C<sorted CHANGES>

A list in the order of events, without changes of which nothing is left.

=item C<name_of FIELD>

The name in REST's history of a column of Bugzilla's.

=back
