#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Puts into a real Bugzilla, made for tests, what a fake one has from the beginning: `perl furnish.pl FOLDER`, after
# checksetup.pl. What is there already stays, so it may run again.

use 5.10.1;
use strict;
use warnings;

my $folder;
BEGIN {
  ($folder) = @ARGV or die "usage: furnish.pl FOLDER\n";
  chdir($folder) or die "$folder: $!\n";
}
use lib qw(. lib local/lib/perl5);

use Bugzilla;
use Bugzilla::Bug;
use Bugzilla::Component;
use Bugzilla::Config qw(:admin);
use Bugzilla::Constants;
use Bugzilla::Field;
use Bugzilla::Field::Choice;
use Bugzilla::FlagType;
use Bugzilla::Group;
use Bugzilla::Keyword;
use Bugzilla::Product;
use Bugzilla::User;

use constant {ADMIN => 'admin@example.org', BOB => 'bob@example.org'};
use constant PARAMS => (
  urlbase => 'http://bugs.example.org/', mail_delivery_method => 'Test', maintainer => ADMIN,
  insidergroup => 'admin', useqacontact => 1, usestatuswhiteboard => 1, allowbugdeletion => 1,
  sourcepulse_enabled => 1,
);

# Name, type of the field, values to choose among.
use constant FIELDS => (
  ['cf_text', FIELD_TYPE_FREETEXT], ['cf_select', FIELD_TYPE_SINGLE_SELECT, 'one', 'two'],
  ['cf_multi', FIELD_TYPE_MULTI_SELECT, 'a', 'b'], ['cf_big', FIELD_TYPE_TEXTAREA], ['cf_date', FIELD_TYPE_DATETIME],
  ['cf_bug', FIELD_TYPE_BUG_ID], ['cf_day', FIELD_TYPE_DATE], ['cf_int', FIELD_TYPE_INTEGER],
);

# Name, what it is set on, whether only in TestProduct.
use constant FLAGS => (
  ['needinfo', 'bug', 0], ['review', 'attachment', 0], ['product-only', 'bug', 1], ['core-review', 'attachment', 1],
);

Bugzilla->usage_mode(USAGE_MODE_CMDLINE);
Bugzilla->error_mode(ERROR_MODE_DIE);

# The parameters first: what is made below is checked by them.
my %params = (PARAMS);
foreach my $name (grep { exists Bugzilla->params->{$_} } sort keys %params) { SetParam($name, $params{$name}) }
write_params();

my $admin = Bugzilla::User->new({name => ADMIN}) or die ADMIN . " is not the administrator: run checksetup.pl with that address\n";
Bugzilla->set_user($admin);

sub join_group {
  my ($user, $group) = @_;
  my @row = ($user->id, $group->id, GRANT_DIRECT);
  my ($is_in) = Bugzilla->dbh->selectrow_array(
    'SELECT 1 FROM user_group_map WHERE user_id = ? AND group_id = ? AND isbless = 0 AND grant_type = ?', undef, @row);
  Bugzilla->dbh->do('INSERT INTO user_group_map (user_id, group_id, isbless, grant_type) VALUES (?, ?, 0, ?)', undef, @row) unless $is_in;
  return;
}

sub control {
  my ($product, $group, $membercontrol, $othercontrol) = @_;
  return if $product->group_controls->{$group->id};
  $product->set_group_controls($group, {membercontrol => $membercontrol, othercontrol => $othercontrol});
  $product->update;
  return;
}

sub component {
  my ($product, $name) = @_;
  return if Bugzilla::Component->new({product => $product, name => $name});
  Bugzilla::Component->create({name => $name, product => $product, description => 'x', initialowner => ADMIN, create_series => 0});
  return;
}

my $bob = Bugzilla::User->new({name => BOB}) || Bugzilla::User->create({
  login_name => BOB, realname => 'Bob', cryptpassword => '*', Bugzilla::User->can('check_email') ? (email => BOB) : (),
});
join_group($bob, Bugzilla::Group->new({name => 'editbugs'}));

my %group;
foreach my $name (qw(secretgroup othergroup)) {
  $group{$name} = Bugzilla::Group->new({name => $name})
    || Bugzilla::Group->create({name => $name, description => 'x', isbuggroup => 1, isactive => 1});
  join_group($admin, $group{$name});
}
# Bugs of the administrator himself are made in groups that he was not in a moment ago.
Bugzilla->set_user(Bugzilla::User->new($admin->id));

my $public = Bugzilla::Product->new({name => 'TestProduct'}) or die "there is no TestProduct: checksetup.pl makes it\n";
component($public, $_) foreach qw(TestComponent Other);
control($public, $group{$_}, CONTROLMAPSHOWN, CONTROLMAPNA) foreach sort keys %group;
my $secret = Bugzilla::Product->new({name => 'Secret'}) || Bugzilla::Product->create({
  name => 'Secret', description => 'x', version => 'unspecified', defaultmilestone => '---', allows_unconfirmed => 0,
  isactive => 1, create_series => 0, classification => 'Unclassified',
});
component($secret, 'SecretComponent');
control($secret, $group{secretgroup}, CONTROLMAPMANDATORY, CONTROLMAPMANDATORY);

foreach my $name (qw(kw1 kw2)) {
  Bugzilla::Keyword->new({name => $name}) || Bugzilla::Keyword->create({name => $name, description => 'x'});
}

my $order = 1000;
foreach my $new (FIELDS) {
  my ($name, $type, @values) = @$new;
  $order++;
  my $field = Bugzilla::Field->new({name => $name})
    || Bugzilla::Field->create({name => $name, description => $name, type => $type, custom => 1, enter_bug => 1, sortkey => $order});
  my $class = @values ? Bugzilla::Field::Choice->type($field) : undef;
  $class->new({name => $_}) || $class->create({value => $_, sortkey => 10}) foreach @values;
}

my %has_flag = map { $_ => 1 } @{Bugzilla->dbh->selectcol_arrayref('SELECT name FROM flagtypes')};
foreach my $new (FLAGS) {
  my ($name, $target, $is_here) = @$new;
  Bugzilla::FlagType->create({
    name => $name, description => 'x', cc_list => '', target_type => $target, sortkey => 1, is_active => 1, is_requestable => 1,
    is_requesteeble => 1, is_multiplicable => 0, grant_group => undef, request_group => undef,
    inclusions => [$is_here ? $public->id . ':0' : '0:0'], exclusions => [],
  }) unless $has_flag{$name};
}
print "$folder is ready for the tests\n";
