# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Logins;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(select_in);

sub new {
  my ($class, @users) = @_;
  my $self = bless {login => {}}, $class;
  $self->learn(@users);
  return $self;
}

sub learn {
  my ($self, @users) = @_;
  $self->{login}->{$_->id} = $_->login foreach grep { ref $_ && $_->id } @users;
  return;
}

# Reads those that are not known with one statement; objects of users cost one each, and hold what nobody needs here.
sub fetch {
  my ($self, @ids) = @_;
  my $login = $self->{login};
  my %new   = map { $_ => 1 } grep { $_ && !exists $login->{$_} } @ids;
  return unless %new;
  my $rows = select_in('SELECT userid, login_name FROM profiles WHERE userid', keys %new);
  $login->{$_->[0]} = $_->[1] foreach @$rows;
  return;
}

sub login {
  my ($self, $id) = @_;
  $self->fetch($id) unless exists $self->{login}->{$id};
  return $self->{login}->{$id};
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Logins - the logins of people by their ids, read together

=head1 METHODS

C<new USERS> and C<learn USERS> take objects that Bugzilla has made already, C<fetch IDS> reads the rest, C<login ID> gives one (undef
for somebody who is gone).
