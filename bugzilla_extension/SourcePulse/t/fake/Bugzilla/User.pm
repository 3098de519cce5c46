# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::User;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::Object Exporter);
our @EXPORT = qw(login_to_id);

use Bugzilla::Object;

use constant {DB_TABLE => 'profiles', ID_FIELD => 'userid', NAME_FIELD => 'login_name'};

sub new {
  my ($class, $param) = @_;
  return bless {userid => 0, login_name => ''}, $class unless defined $param;
  return $class->SUPER::new($param);
}

sub login { return $_[0]->{login_name}; }

sub login_to_id {
  my ($login) = @_;
  my $user = Bugzilla::User->new({name => $login});
  return $user ? $user->id : 0;
}

sub in_group {
  my ($self, $name) = @_;
  my ($found) = Bugzilla->dbh->selectrow_array('SELECT 1 FROM user_group_map INNER JOIN groups ON groups.id = group_id
      WHERE user_id = ? AND groups.name = ?', undef, $self->id, $name);
  return $found ? 1 : 0;
}

# Those without a mandatory group that the user is not in.
sub get_selectable_products {
  my ($self) = @_;
  my $ids = Bugzilla->dbh->selectcol_arrayref('SELECT id FROM products WHERE id NOT IN
      (SELECT product_id FROM group_control_map WHERE membercontrol = 3 AND group_id NOT IN
        (SELECT group_id FROM user_group_map WHERE user_id = ?))', undef, $self->id);
  return Bugzilla::Product->new_from_list($ids);
}

# What it has seen it remembers. With or_groups on, a bug that is still being made can be seen already.
sub visible_bugs {
  my ($self, $bugs) = @_;
  my $seen = $self->{_visible_bugs_cache} ||= {};
  my $made = Bugzilla->params->{or_groups} ? '' : 'AND creation_ts IS NOT NULL';
  foreach my $id (map { ref $_ ? $_->id : $_ } @$bugs) {
    next if exists $seen->{$id};
    my ($found) = Bugzilla->dbh->selectrow_array("SELECT 1 FROM bugs WHERE bug_id = ? $made AND NOT EXISTS
        (SELECT 1 FROM bug_group_map WHERE bug_group_map.bug_id = bugs.bug_id AND group_id NOT IN
          (SELECT group_id FROM user_group_map WHERE user_id = ?))", undef, $id, $self->id);
    $seen->{$id} = $found ? 1 : 0;
  }
  return [grep { $seen->{ref $_ ? $_->id : $_} } @$bugs];
}

1;
