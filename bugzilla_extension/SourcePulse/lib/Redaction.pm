# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Redaction;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants qw(FIELD_TYPE_BUG_ID);

use Bugzilla::Extension::SourcePulse::BugNumbers qw();
use Bugzilla::Extension::SourcePulse::Params     qw(hidden_fields);
use Bugzilla::Extension::SourcePulse::Snapshot   qw(custom_fields);

use base qw(Exporter);
our @EXPORT_OK = qw(all_changes is_public_change);

# What the public may see of changes, by the names in events; everything else is
# left out: groups, time tracking, the deadline, accessibility bits.
my %PUBLIC_CHANGE = map { $_ => 1 } qw(
  alias assigned_to blocks cc classification component content_type creator
  depends_on dupe_of file_name flagtypes.name is_active is_confirmed
  is_obsolete is_patch keywords name op_sys platform priority product
  qa_contact resolution see_also severity status summary target_milestone url
  version whiteboard
);

# Whether the public may see changes with this name, beside custom fields.
sub is_public_change { return $PUBLIC_CHANGE{$_[0]}; }

# Members of a bug that the public may have unchanged; the others are redacted,
# and members that are in neither list are left out.
my @PLAIN_MEMBERS = qw(
  alias classification component component_id creation_time id is_open
  keywords last_change_time op_sys platform priority product product_id
  resolution severity status summary target_milestone url version whiteboard
);
my @BUG_PERSONS = qw(assigned_to qa_contact creator);
my @BUG_NUMBERS = qw(depends_on blocks dupe_of see_also);

# VISIBILITY knows which other bugs and attachments are public; the parameters
# are the current ones, and so are the custom fields without CUSTOM.
sub new {
  my ($class, $visibility, $custom) = @_;
  my $hidden = hidden_fields();
  my @custom
    = grep { !$hidden->{$_->{name}} } $custom ? @$custom : custom_fields();
  my @bugs = grep { $_->{type} == FIELD_TYPE_BUG_ID } @custom;
  return bless {
    visibility => $visibility,
    custom     => {map { $_->{name} => 1 } @custom},
    numbers    => Bugzilla::Extension::SourcePulse::BugNumbers->new(
      $visibility, map { $_->{name} } @bugs
    ),
    hides_names => Bugzilla->params->{usevisibilitygroups} ? 1 : 0,

    # The ids of people by the names that were read, for text that has only a
    # name.
    ids    => {},
    people => {},
  }, $class;
}

# Reads with one statement which of the mentioned bugs are public.
sub prepare {
  my ($self, @parts) = @_;
  $self->{numbers}->prepare(@parts);
  return;
}

# -- people

sub person {
  my ($self, $person) = @_;
  return undef unless $person;

  # Most people are mentioned more than once. The key is the hash itself,
  # because two with different names may have one id.
  my $known = $self->{people}->{$person};
  return $known->[1] if $known;
  my ($id, $name) = @$person{qw(id name)};
  if (defined $name) {

    # Bugzilla's email_filter() does nothing while a user is logged in, which is
    # always so in a hook.
    $name =~ s/\@.*//s;
    $self->{ids}->{$name} = $id;
    $name = undef if $self->{hides_names};
  }
  my $public = {id => $id, name => $name};

  # Stored with the key, so that its address is not reused for another one.
  $self->{people}->{$person} = [$person, $public];
  return $public;
}

sub people {
  my ($self, $people) = @_;
  return [map { $self->person($_) } @$people];
}

# The same for a flag that is already text, in a waiting event: if names are
# hidden now, the name is removed, or replaced by the id if the event has it. An
# event without any name was written while names were hidden, with ids.
sub _flag_word_again {
  my ($self, $word) = @_;
  return $word unless $self->{hides_names} && %{$self->{ids}};
  my ($flag, $name) = $word =~ /\A(.*)\(([^()]*)\)\z/s or return $word;
  my $id = $self->{ids}->{$name};
  return defined $id ? "$flag($id)" : $flag;
}

# What was learned of people applies to one event only.
sub begin_event { @{$_[0]}{qw(ids people)} = ({}, {}); return; }

# -- parts of events, each returned as a copy with what the public may have

sub bug {
  my ($self, $bug) = @_;
  my $numbers = $self->{numbers};
  my %public;
  @public{@PLAIN_MEMBERS} = @$bug{@PLAIN_MEMBERS};
  $public{$_}             = $self->person($bug->{$_})        foreach @BUG_PERSONS;
  $public{$_}             = $numbers->public($_, $bug->{$_}) foreach @BUG_NUMBERS;
  $public{cc}             = $self->people($bug->{cc});
  foreach my $name (grep { exists $bug->{$_} } keys %{$self->{custom}}) {
    $public{$name}
      = $numbers->are_in($name)
      ? $numbers->public($name, $bug->{$name})
      : $bug->{$name};
  }
  $public{flags}  = [map { $self->flag($_) } @{$bug->{flags}}];
  $public{groups} = [];
  return \%public;
}

# Sorted, without those of which nothing remains.
sub changes {
  my ($self, $changes) = @_;
  return _sorted(map { $self->_change($_) } @$changes);
}

sub flag {
  my ($self, $flag) = @_;
  return {%$flag, map { $_ => $self->person($flag->{$_}) } qw(setter requestee)};
}

# Flags of attachments are as private as the attachment.
sub flags_done {
  my ($self, $done) = @_;
  return [map { { %$_, flag => $self->flag($_->{flag}) } }
      grep { $self->is_public_attachment($_->{attachment_id}) } @$done];
}

sub is_public_attachment {
  my ($self, $id) = @_;
  return !defined $id || $self->{visibility}->is_public_attachment($id) ? 1 : 0;
}

# Whether a comment is public by itself; one about a private attachment is as
# private as the attachment. A comment without text exists only for the hours
# booked with it, which visitors do not see; only the first comment of a bug may
# be empty.
sub is_public_comment {
  my ($self, $comment) = @_;
  return 0 if _is_true($comment->{is_private});
  return 0
    if $comment->{text} eq ''
    && $comment->{type} eq 'normal'
    && $comment->{count};
  return $self->is_public_attachment($comment->{attachment_id});
}

sub comments {
  my ($self, $comments) = @_;
  return [map { $self->comment($_) }
      grep { $self->is_public_comment($_) } @$comments];
}

sub comment {
  my ($self, $comment) = @_;
  my %public = (%$comment, creator => $self->person($comment->{creator}));
  $public{dupe_bug_id}
    = $self->{numbers}->public('dupe_bug_id', $comment->{dupe_bug_id});
  return \%public;
}

sub attachment {
  my ($self, $attachment) = @_;
  return {
    %$attachment,
    creator => $self->person($attachment->{creator}),
    flags   => [map { $self->flag($_) } @{$attachment->{flags}}],
  };
}

# -- changes

# For the restricted stream: everything, with flags as its text.
sub all_changes {
  my ($changes) = @_;
  my @all = map {
    {%$_}
  } @$changes;
  foreach my $change (grep { $_->{field_name} eq 'flagtypes.name' } @all) {
    foreach my $side (qw(removed added)) {
      $change->{$side}
        = [map { _flag_text($_->{word}, $_->{person}) } @{$change->{$side}}];
    }
  }
  return _sorted(@all);
}

sub _change {
  my ($self, $change) = @_;
  my $field = $change->{field_name};
  return () unless $PUBLIC_CHANGE{$field} || exists $self->{custom}->{$field};
  my %public = %$change;
  @public{qw(removed added)}
    = map { $self->_value($field, $_) } @$change{qw(removed added)};
  return \%public;
}

sub _value {
  my ($self, $field, $value) = @_;
  return $value unless defined $value;
  return $self->{numbers}->public($field, $value)
    if $self->{numbers}->are_in($field);
  return $self->person($value) if ref $value eq 'HASH';
  return $value unless ref $value eq 'ARRAY';
  return $self->people($value)                   if $field eq 'cc';
  return [map { $self->_flag_word($_) } @$value] if $field eq 'flagtypes.name';
  return $value;
}

sub _flag_word {
  my ($self, $item) = @_;
  return $self->_flag_word_again($item) unless ref $item;
  return _flag_text($item->{word}, $self->person($item->{person}));
}

# "review?(bob)", with the person's id where names are hidden.
sub _flag_text {
  my ($word, $person) = @_;
  return $word unless $person;
  return "$word(" . ($person->{name} // $person->{id} + 0) . ')';
}

# Nothing remains of a change if nothing in it may be published.
sub _sorted {
  my @left = grep {
         delete $_->{is_vague}
      || !_is_nothing($_->{removed})
      || !_is_nothing($_->{added})
  } @_;
  return [sort { $a->{field_name} cmp $b->{field_name} } @left];
}

sub _is_nothing {
  my ($value) = @_;
  return !defined $value || (ref $value eq 'ARRAY' && !@$value) ? 1 : 0;
}

# A boolean that was just made is a reference to 1 or 0.
sub _is_true {
  my ($value) = @_;
  return ref $value eq 'SCALAR' ? $$value : $value;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Redaction - what the public may see of people,
bugs, comments, attachments, flags and changes

=head1 DESCRIPTION

Every rule about a value is here, once: no groups, only the local part of logins
(no names at all under C<usevisibilitygroups>), no numbers of bugs that an
anonymous visitor cannot see, only known fields, nothing of a private
attachment.

Each method takes a part of an event and returns a copy. The part may have just
been read by a hook, come from the history, or belong to an event that is
checked again: the methods only remove, and applying them twice changes nothing.
