# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Logins;

# Bugzilla 5.0 and 5.2 each look for the Perl that they ask for themselves.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(handle select_in);
use Bugzilla::Extension::SourcePulse::Values   qw(number text);

sub new {
  my ($class, @users) = @_;
  my $self = bless {login => {}, id => {}, person => {}}, $class;
  $self->learn(@users);
  return $self;
}

sub learn {
  my ($self, @users) = @_;
  $self->{login}->{$_->id} = $_->login foreach grep { ref $_ && $_->id } @users;
  return;
}

# Reads those that are not known with one statement; objects of users cost one
# each, and hold what is not needed here.
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

sub login {
  my ($self, $id) = @_;
  $self->fetch($id) unless exists $self->{login}->{$id};
  return $self->{login}->{$id};
}

# A Person with the whole login; one for all places that name the same one.
sub person {
  my ($self, $id) = @_;
  return undef unless $id;
  return $self->{person}->{$id} ||= do {
    my $login
      = exists $self->{login}->{$id} ? $self->{login}->{$id} : $self->login($id);
    {id => $id + 0, name => defined $login ? text($login) : undef};
  };
}

sub people {
  my ($self, @ids) = @_;
  return [map { $self->person($_) } sort { $a <=> $b } @ids];
}

# The Person that had this login when the history was written. A user who was
# deleted or renamed since is found in the audit log, which keeps the login of
# every account that Bugzilla made or renamed; undef if it is not there either.
sub person_of_login {
  my ($self, $login) = @_;
  return undef unless defined $login && $login ne '';
  $self->{id}->{$login} = _id_of($login) unless exists $self->{id}->{$login};
  my $id = $self->{id}->{$login};
  return $id ? {id => number($id), name => text($login)} : undef;
}

sub _id_of {
  my ($login) = @_;
  my ($id)
    = handle()
    ->selectrow_array('SELECT userid FROM profiles WHERE login_name = ?',
    undef, $login);
  ($id) = handle()->selectrow_array(
    'SELECT object_id FROM audit_log WHERE class = ? AND (added = ? OR removed = ?)
      AND field IN (?, ?, ?) ORDER BY at_time DESC ' . Bugzilla->dbh->sql_limit(1),
    undef, 'Bugzilla::User', $login, $login, 'login_name', '__create__',
    '__remove__'
  ) unless $id;
  return $id;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Logins - people by their ids, read together

=head1 METHODS

=over

=item C<new USERS>, C<learn USERS>

Take objects that Bugzilla has made already.

=item C<fetch IDS>

Reads the logins of the others with one statement.

=item C<login ID>, C<person ID>, C<people IDS>

The login (undef for a user who was deleted), and persons as events have them,
with the whole login.

=item C<person_of_login LOGIN>

The person whose login Bugzilla's history has; undef if neither the profiles nor
the audit log know it.

=back
