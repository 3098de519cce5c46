# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Logins;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(select_in select_value);
use Bugzilla::Extension::SourcePulse::Json     qw(number text);

# USERS: people whom Bugzilla has already loaded.
sub new {
  my ($class, @users) = @_;
  my %login = map { $_->id => $_->login } grep { ref $_ && $_->id } @users;
  return bless {login => \%login, id => {}, person => {}}, $class;
}

# LOGIN: logins by id, which were read before.
sub new_known {
  my ($class, $login) = @_;
  return bless {login => {%$login}, id => {}, person => {}}, $class;
}

# Reads the unknown ones with one statement, because Bugzilla's user objects
# cost one each and hold more than is needed here.
sub fetch {
  my ($self, @ids) = @_;
  my $login = $self->{login};
  my %new   = map { $_ => 1 } grep { $_ && !exists $login->{$_} } @ids;
  return unless %new;
  my $rows = select_in('SELECT userid, login_name FROM profiles WHERE userid',
    keys %new);
  $login->{$_->[0]} = $_->[1] foreach @$rows;
  return;
}

# A Person with the whole login, which is undef for a user who was deleted; a
# single object for all mentions of a person.
sub person {
  my ($self, $id) = @_;
  return undef unless $id;
  return $self->{person}->{$id} ||= do {
    $self->fetch($id);
    my $login = $self->{login}->{$id};
    {id => $id + 0, name => defined $login ? text($login) : undef};
  };
}

sub people {
  my ($self, @ids) = @_;
  return [map { $self->person($_) } sort { $a <=> $b } @ids];
}

# The Person who had this login when the history was written. The audit log
# still has a user who was deleted or renamed since, because it records the
# login of every account that was created or renamed; undef if it has none
# either.
sub person_of_login {
  my ($self, $login) = @_;
  return undef unless defined $login && $login ne '';
  $self->{id}->{$login} = _id_of($login) unless exists $self->{id}->{$login};
  my $id = $self->{id}->{$login};
  return $id ? {id => number($id), name => text($login)} : undef;
}

sub _id_of {
  my ($login) = @_;
  return select_value('SELECT userid FROM profiles WHERE login_name = ?', $login)
    || select_value(
    'SELECT object_id FROM audit_log WHERE class = ? AND (added = ? OR removed = ?)
      AND field IN (?, ?, ?) ORDER BY at_time DESC ' . Bugzilla->dbh->sql_limit(1),
    'Bugzilla::User', $login, $login, 'login_name', '__create__', '__remove__'
    );
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Logins - people by their ids, read together
