# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Flag;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::Object);

use Bugzilla::Hook;
use Bugzilla::Util;

use constant {DB_TABLE => 'flags', NAME_FIELD => 'id'};
use constant UPDATE_COLUMNS => qw(status setter_id requestee_id);

sub name         { return Bugzilla::FlagType->new($_[0]->{type_id})->name; }
sub type_id      { return $_[0]->{type_id}; }
sub status       { return $_[0]->{status}; }
sub setter_id    { return $_[0]->{setter_id}; }
sub requestee_id { return $_[0]->{requestee_id}; }
sub attach_id    { return $_[0]->{attach_id}; }

# OLD and NEW of set_flags(): those with an id change flags that are there ("X" removes), the others are set.
sub apply {
  my ($class, $object, $old, $new) = @_;
  my $flags = $object->flags;
  foreach my $change (@$old) {
    if ($change->{status} eq 'X') {
      @$flags = grep { $_->{id} != $change->{id} } @$flags;
      next;
    }
    foreach my $flag (grep { $_->{id} == $change->{id} } @$flags) {
      $flag->{status}       = $change->{status};
      $flag->{setter_id}    = Bugzilla->user->id;
      $flag->{requestee_id} = $change->{requestee} ? Bugzilla::User->new({name => $change->{requestee}})->id : undef;
    }
  }
  foreach my $flag (@$new) {
    push(@$flags, bless {
      type_id      => $flag->{type_id},
      status       => $flag->{status},
      setter_id    => Bugzilla->user->id,
      requestee_id => $flag->{requestee} ? Bugzilla::User->new({name => $flag->{requestee}})->id : undef,
      bug_id       => $object->{bug_id},
      attach_id    => $object->isa('Bugzilla::Attachment') ? $object->id : undef,
    }, $class);
  }
  return;
}

sub update_flags {
  my ($class, $object, $old_object, $timestamp) = @_;
  my $dbh    = Bugzilla->dbh;
  my @before = map { $_->_word } @{$old_object->flags};
  my %old    = map { $_->id => $_ } @{$old_object->flags};
  foreach my $flag (@{$object->flags}) {
    if ($flag->{id}) {
      $flag->update;
      delete $old{$flag->{id}};
    }
    else {
      my %row = (%$flag, creation_date => $timestamp, modification_date => $timestamp);
      $flag->{id} = $class->insert_create_data(\%row)->id;
    }
  }
  $_->remove_from_db foreach values %old;
  # A flag that does not belong where the bug went goes behind the objects' back, with those of attachments.
  if ($object->isa('Bugzilla::Bug') && $object->{_moved}) {
    foreach my $gone ($class->where('bug_id = ? AND type_id NOT IN (SELECT type_id FROM flaginclusions
          WHERE product_id IS NULL OR product_id = ?)', $object->id, $object->{product_id})) {
      push(@before, $gone->_word) if $gone->{attach_id};
      $dbh->do('DELETE FROM flags WHERE id = ?', undef, $gone->id);
    }
    delete $object->{flags};
  }
  my @after = map { $_->_word } @{$object->flags};
  my ($removed, $added) = diff_arrays(\@before, \@after);
  Bugzilla::Hook::process('flag_end_of_update',
    {object => $object, timestamp => $timestamp, old_flags => \@before, new_flags => \@after});
  return (join(', ', @$removed), join(', ', @$added));
}

sub _word {
  my ($self) = @_;
  my $requestee = $self->{requestee_id} ? '(' . Bugzilla::User->new($self->{requestee_id})->login . ')' : '';
  return $self->name . $self->{status} . $requestee;
}

1;
