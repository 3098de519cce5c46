# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Visibility;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants qw(CMT_ATTACHMENT_CREATED CMT_ATTACHMENT_UPDATED);
use Bugzilla::User      qw();

use Bugzilla::Extension::SourcePulse::Database
  qw(can_be_id portions select_in);

use base qw(Exporter);
our @EXPORT_OK = qw(
  GONE PUBLIC is_about_attachment site_is_public visibility_of_bug
  was_public_bug
);

use constant {PUBLIC => 'public', PRIVATE => 'private', GONE => 'gone'};

sub new {
  my ($class) = @_;
  return bless {
    is_open     => site_is_public(),
    anonymous   => undef,
    asked       => {},
    attachments => {},
  }, $class;
}

# Which bugs and attachments were found public, as plain data, and the decision
# again. Whatever it does not name is private, because it must not be decided
# later.
sub decided {
  my ($self) = @_;
  my ($bugs, $attachments) = @$self{qw(asked attachments)};
  return {
    is_open     => $self->{is_open},
    asked       => {map { $_ => 1 } grep { $bugs->{$_} } keys %$bugs},
    attachments => {
      map  { $_ => PUBLIC }
      grep { $self->is_public_attachment($_) } keys %$attachments
    },
  };
}

sub new_decided {
  my ($class, $decided) = @_;
  return bless {%$decided, is_decided => 1}, $class;
}

# While visitors must log in to see anything, everything is private.
sub site_is_public { return Bugzilla->params->{requirelogin} ? 0 : 1; }

sub public_bugs {
  my ($self, @ids) = @_;
  return {} unless $self->{is_open};
  my $asked = $self->{asked};
  my @new   = $self->{is_decided} ? () : grep { !exists $asked->{$_} } @ids;
  @new = grep { can_be_id($_) } @new;

  # Always a new visitor, because a user object caches which bugs it can see.
  $self->{anonymous} ||= Bugzilla::User->new if @new;
  foreach my $some (portions(@new)) {
    $asked->{$_} = 0 foreach @$some;
    $asked->{$_} = 1 foreach @{$self->{anonymous}->visible_bugs([@$some])};
  }
  return {map { $_ => 1 } grep { $asked->{$_} } @ids};
}

sub is_public_bug {
  my ($self, $id) = @_;
  return $self->public_bugs($id)->{$id} ? 1 : 0;
}

# The hook of a bug has already read whether it is in a group. Only groups hide
# a bug from a visitor who is not logged in, whatever or_groups is. The check
# before publishing asks Bugzilla itself.
sub visibility_of_bug {
  my ($id, $is_in_group) = @_;
  my $self = __PACKAGE__->new;
  $self->{asked}->{$id} = $is_in_group ? 0 : 1;
  return $self;
}

# The object of a bug before its update has its old groups, because they were
# read before they were written.
sub was_public_bug {
  my ($old_bug) = @_;
  return site_is_public() && !@{$old_bug->groups_in} ? 1 : 0;
}

sub is_about_attachment {
  my ($type) = @_;
  return ($type || 0) == CMT_ATTACHMENT_CREATED
    || ($type || 0) == CMT_ATTACHMENT_UPDATED ? 1 : 0;
}

# The attachment itself, without regard to its bug.
sub is_public_attachment {
  my ($self, $id) = @_;
  my $asked = $self->{attachments};
  $asked->{$id} = $self->state_of_attachments($id)->{$id}
    unless exists $asked->{$id} || $self->{is_decided};
  return ($asked->{$id} || PRIVATE) eq PUBLIC ? 1 : 0;
}

# Reads the state of several attachments with one statement.
sub decide_attachments {
  my ($self, @ids) = @_;
  return unless @ids;
  my $states = $self->state_of_attachments(@ids);
  @{$self->{attachments}}{keys %$states} = values %$states;
  return;
}

# For an attachment that its hook has already read.
sub note_attachment {
  my ($self, $id, $is_private) = @_;
  $self->{attachments}->{$id}
    = $is_private || !site_is_public() ? PRIVATE : PUBLIC;
  return;
}

# The state of a product for a visitor: whether the visitor could search it.
sub state_of_products {
  my ($self, @ids) = @_;
  my @public;

  # Always a new visitor, because a user object caches which products it can
  # see.
  @public = map { $_->id } @{Bugzilla::User->new->get_selectable_products}
    if site_is_public();
  my $there = _rows('SELECT id, 1 FROM products WHERE id', @ids);
  return _states($there, {map { $_ => 1 } @public}, @ids);
}

# For the check before publishing: the state in the database at this moment.
sub state_of_bugs {
  my ($self, @ids) = @_;
  my $public = $self->public_bugs(@ids);
  my $there  = _rows('SELECT bug_id, 1 FROM bugs WHERE bug_id',
    grep { !$public->{$_} } @ids);
  return _states($there, $public, @ids);
}

sub state_of_attachments {
  my ($self, @ids) = @_;
  my $rows
    = _rows('SELECT attach_id, isprivate FROM attachments WHERE attach_id', @ids);
  return _states($rows, _not_private($rows), @ids);
}

sub state_of_comments {
  my ($self, @ids) = @_;
  my $rows = _rows(
    'SELECT comment_id, isprivate, type, extra_data FROM longdescs WHERE comment_id',
    @ids
  );
  my @about      = grep { is_about_attachment($_->[2]) } values %$rows;
  my $attachment = $self->state_of_attachments(map { $_->[3] } @about);
  foreach my $row (@about) {
    $row->[1] = 1 if ($attachment->{$row->[3]} || '') ne PUBLIC;
  }
  return _states($rows, _not_private($rows), @ids);
}

sub _not_private {
  my ($rows) = @_;
  return {} unless site_is_public();
  return {map { $_ => 1 } grep { !$rows->{$_}->[1] } keys %$rows};
}

sub _states {
  my ($there, $public, @ids) = @_;
  return {map { $_ => $public->{$_} ? PUBLIC : $there->{$_} ? PRIVATE : GONE }
      @ids};
}

sub _rows {
  my ($select, @ids) = @_;
  return {map { $_->[0] => $_ } @{select_in($select, @ids)}};
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Visibility - what an anonymous visitor may see

=head1 DESCRIPTION

Bugs are checked with C<visible_bugs> of a logged-out user, in the transaction
that changed them (the changed bug itself by its groups, which is equivalent).
Nothing is public while C<requirelogin> is on. Callers must treat an exception
as "private".
