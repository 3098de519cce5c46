# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# The small classes of Bugzilla, all in one place.
package Bugzilla::Things;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants;
use Bugzilla::Object;

$INC{"Bugzilla/$_.pm"} = __FILE__ foreach qw(Classification Component Field FlagType Group Keyword Milestone Product Token Version);

package Bugzilla::Classification;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'classifications';

package Bugzilla::Component;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'components';
use constant UPDATE_COLUMNS => qw(name isactive);

package Bugzilla::Version;
use parent -norequire, 'Bugzilla::Object';
use constant {DB_TABLE => 'versions', NAME_FIELD => 'value'};
use constant UPDATE_COLUMNS => qw(value isactive);

package Bugzilla::Milestone;
use parent -norequire, 'Bugzilla::Object';
use constant {DB_TABLE => 'milestones', NAME_FIELD => 'value'};
use constant UPDATE_COLUMNS => qw(value isactive);

package Bugzilla::Keyword;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'keyworddefs';
use constant UPDATE_COLUMNS => qw(name);

package Bugzilla::FlagType;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'flagtypes';

# Tokens that were issued by this process.
package Bugzilla::Token;
use base qw(Exporter);
our @EXPORT = qw(check_token_data delete_token issue_session_token);

my %issued;
my $count = 0;

sub issue_session_token { my $token = 'token' . ++$count; $issued{$token} = $_[0]; return $token; }
sub delete_token        { delete $issued{$_[0]}; return; }

sub check_token_data {
  my ($token, $action) = @_;
  require Bugzilla::Error;
  Bugzilla::Error::ThrowUserError('token_does_not_exist') unless ($issued{defined $token ? $token : ''} || '') eq $action;
  return;
}

package Bugzilla::Field;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'fielddefs';

sub custom { return $_[0]->where('custom = 1 AND obsolete = 0'); }
sub type   { return $_[0]->{type}; }

package Bugzilla::Product;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'products';
use constant UPDATE_COLUMNS => qw(name isactive classification_id);

# With the version and the milestone that every product has; its groups come last.
sub create {
  my ($class, $params) = @_;
  my $dbh = Bugzilla->dbh;
  my %row = %$params;
  my @groups = @{delete $row{mandatory} || []};
  $dbh->bz_start_transaction;
  my $self = $class->insert_create_data({classification_id => 1, isactive => 1, %row});
  $_->insert_create_data({product_id => $self->id, isactive => 1, value => $_ eq 'Bugzilla::Version' ? 'unspecified' : '---'})
    foreach qw(Bugzilla::Version Bugzilla::Milestone);
  $dbh->do('INSERT INTO group_control_map (product_id, group_id, membercontrol) VALUES (?, ?, 3)', undef, $self->id, $_->id)
    foreach @groups;
  Bugzilla::Hook::process('product_end_of_create', {product => $self});
  $dbh->bz_commit_transaction;
  return $self;
}

sub classification { return Bugzilla::Classification->new($_[0]->{classification_id}); }

sub mandatory_groups {
  return map { Bugzilla::Group->new($_) } @{Bugzilla->dbh->selectcol_arrayref(
      'SELECT group_id FROM group_control_map WHERE product_id = ? AND membercontrol = 3', undef, $_[0]->id)};
}

# What an administrator does to all bugs of a product at once, past every hook of a bug.
sub make_group_mandatory {
  my ($self, $group) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  my ($now) = $dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  my $ids = $dbh->selectcol_arrayref('SELECT bug_id FROM bugs WHERE product_id = ? AND bug_id NOT IN
      (SELECT bug_id FROM bug_group_map WHERE group_id = ?)', undef, $self->id, $group->id);
  foreach my $id (@$ids) {
    $dbh->do('INSERT INTO bug_group_map (bug_id, group_id) VALUES (?, ?)', undef, $id, $group->id);
    Bugzilla::Bug::LogActivityEntry($id, 'bug_group', '', $group->name, Bugzilla->user->id, $now);
  }
  $dbh->bz_commit_transaction;
  return;
}

package Bugzilla::Group;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'groups';

# Bugs leave it by the database's own cascade, without a line in their history.
sub remove_from_db {
  my ($self) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  Bugzilla::Hook::process('group_before_delete', {group => $self});
  $self->SUPER::remove_from_db;
  $dbh->bz_commit_transaction;
  return;
}

1;
