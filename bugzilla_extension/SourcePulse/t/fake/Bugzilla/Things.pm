# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# The small classes of Bugzilla, all in one place.
package Bugzilla::Things;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants;
use Bugzilla::Object;

$INC{"Bugzilla/$_.pm"} = __FILE__ foreach qw(Classification Component Field FlagType Group Keyword Product);

package Bugzilla::Classification;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'classifications';

package Bugzilla::Component;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'components';

package Bugzilla::Keyword;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'keyworddefs';

package Bugzilla::FlagType;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'flagtypes';

package Bugzilla::Field;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'fielddefs';

sub custom { return $_[0]->where('custom = 1 AND obsolete = 0'); }
sub type   { return $_[0]->{type}; }

package Bugzilla::Product;
use parent -norequire, 'Bugzilla::Object';
use constant DB_TABLE => 'products';

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
