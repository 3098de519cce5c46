# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Audience;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Params;
use Bugzilla::Extension::SourcePulse::Values qw(number text);

# What the public may know of changes, by Bugzilla's own names; whatever is not here, it may not. No groups,
# no time tracking, no deadline, no accessibility bits.
my %PUBLIC_FIELD = map { $_ => 1 } qw(
  alias assigned_to blocked bug_file_loc bug_severity bug_status cc classification component dependson dup_id
  everconfirmed flagtypes.name keywords op_sys priority product qa_contact rep_platform reporter resolution see_also
  short_desc status_whiteboard target_milestone version
);

sub of_everyone {
  my ($class, $logins, $visibility) = @_;
  return bless {
    public     => 1,
    logins     => $logins,
    visibility => $visibility,
    hides_all  => Bugzilla->params->{usevisibilitygroups} ? 1 : 0,
    hidden     => Bugzilla::Extension::SourcePulse::Params::hidden_fields(),
  }, $class;
}

sub of_the_trusted {
  my ($class, $logins) = @_;
  return bless {public => 0, logins => $logins, group_ids => Bugzilla::Extension::SourcePulse::Params::group_ids()}, $class;
}

sub is_public { return $_[0]->{public}; }

sub person {
  my ($self, $id) = @_;
  return undef unless $id;
  return $self->{people}->{$id} ||= {id => number($id), name => $self->_name($id)};
}

sub people {
  my ($self, @ids) = @_;
  return [map { $self->person($_) } sort { $a <=> $b } @ids];
}

# The word for a person inside a text like "review?(bob)".
sub person_word {
  my ($self, $id) = @_;
  my $name = $self->_name($id);
  return defined $name ? $name : text($id);
}

sub _name {
  my ($self, $id) = @_;
  return undef if $self->{public} && $self->{hides_all};
  my $login = $self->{logins}->login($id);
  return undef unless defined $login;
  # Bugzilla's email_filter() does nothing while somebody is logged in, and here somebody always is.
  $login =~ s/\@.*//s if $self->{public};
  return text($login);
}

sub takes_field {
  my ($self, $name) = @_;
  return 1 unless $self->{public};
  return 0 if $self->{hidden}->{$name};
  return $PUBLIC_FIELD{$name} || $name =~ /\Acf_/ ? 1 : 0;
}

# Of numbers of other bugs, those that this audience may know.
sub bug_ids {
  my ($self, @ids) = @_;
  @ids = sort { $a <=> $b } grep { defined } map { number($_) } @ids;
  return [@ids] unless $self->{public} && @ids;
  my $public = $self->{visibility}->public_bugs(@ids);
  # A number that was once used as a key is a string to JSON.
  return [map { $_ + 0 } grep { $public->{$_} } @ids];
}

sub bug_id {
  my ($self, $id) = @_;
  return $self->bug_ids(grep { $_ } $id)->[0];
}

# URLs of this Bugzilla's own bugs tell their numbers.
sub see_also {
  my ($self, @urls) = @_;
  my @names;
  foreach my $url (@urls) {
    if ($self->{public} && $url->isa('Bugzilla::BugUrl::Bugzilla::Local')) {
      my ($id) = text($url->name) =~ /[?&;]id=([0-9]+)/;
      next unless $id && defined $self->bug_id($id);
    }
    push(@names, text($url->name));
  }
  return [sort @names];
}

sub groups {
  my ($self, @groups) = @_;
  return [] if $self->{public};
  return [map { $self->{group_ids} ? text($_->id) : text($_->name) } sort { $a->id <=> $b->id } @groups];
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Audience - what one of the two streams may have of people, bugs, groups and fields

=head1 DESCRIPTION

Everyone reads the public stream: no groups, no logins but their local part (no names at all under
C<usevisibilitygroups>), no numbers of bugs that an anonymous visitor cannot see, and only known fields. The trusted
read the restricted one, which has everything.

=head1 METHODS

C<of_everyone LOGINS, VISIBILITY> and C<of_the_trusted LOGINS> make them. C<person ID>, C<people IDS> and C<person_word ID> give users as
events have them, C<bug_id>, C<bug_ids>, C<see_also> and C<groups> what may be told of these, C<takes_field> whether a field may be told.
