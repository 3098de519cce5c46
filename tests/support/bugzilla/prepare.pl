# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Run in the folder of a real Bugzilla: makes what a test needs under names that were never used before, and prints it
# as JSON. Arguments: a word that makes names, the URL under which the tree is served.

use 5.10.1;
use strict;
use warnings;
use lib qw(. lib local/lib/perl5);

use Bugzilla;
use Bugzilla::Component;
use Bugzilla::Config qw(:admin);
use Bugzilla::Constants;
use Bugzilla::FlagType;
use Bugzilla::Group;
use Bugzilla::Product;
use Bugzilla::User;
use Bugzilla::User::APIKey;
use JSON::XS;

my ($word, $url) = @ARGV;
Bugzilla->usage_mode(USAGE_MODE_CMDLINE);
Bugzilla->error_mode(ERROR_MODE_DIE);
my $dbh = Bugzilla->dbh;

my ($admin_id) = $dbh->selectrow_array(
  'SELECT MIN(user_id) FROM user_group_map INNER JOIN groups ON groups.id = user_group_map.group_id WHERE groups.name = ?'
    =~ s/\bgroups\b/$dbh->quote_identifier('groups')/ger, undef, 'admin');
Bugzilla->set_user(Bugzilla::User->new($admin_id));

if ($url) {
  SetParam('urlbase', $url) if exists Bugzilla->params->{urlbase};
  SetParam('mail_delivery_method', 'Test');
  SetParam($_, 1) foreach qw(allowbugdeletion usestatuswhiteboard);
  SetParam('insidergroup', 'admin');
  SetParam($_, 0) foreach qw(requirelogin usevisibilitygroups sourcepulse_restricted);
  write_params();
}

my $group = Bugzilla::Group->create({name => "g$word", description => 'Members', isbuggroup => 1, isactive => 1});
my $password = 'Passw0rd-' . $word;
my $login    = "u$word\@example.org";
my $user     = Bugzilla::User->create({
  login_name => $login, realname => 'A Tester', cryptpassword => $password,
  Bugzilla::User->can('check_email') ? (email => $login) : (),
});
foreach my $name ('admin', 'editbugs', $group->name) {
  my $in = Bugzilla::Group->check({name => $name});
  $dbh->do('INSERT INTO user_group_map (user_id, group_id, isbless, grant_type) VALUES (?, ?, 0, ?)',
    undef, $user->id, $in->id, GRANT_DIRECT);
}

my %product;
foreach my $name ("P$word", "Q$word") {
  my $product = Bugzilla::Product->create({
    name => $name, description => 'Test', version => 'unspecified', defaultmilestone => '---', allows_unconfirmed => 0,
    isactive => 1, create_series => 0, classification => 'Unclassified',
  });
  foreach my $component ('One', 'Two') {
    Bugzilla::Component->create({
      name => $component, product => $product, description => 'Test', initialowner => $login, create_series => 0});
  }
  $product = Bugzilla::Product->new($product->id);
  $product->set_group_controls($group, {membercontrol => CONTROLMAPSHOWN, othercontrol => CONTROLMAPNA});
  $product->update;
  $product{$name} = $product->id;
}

foreach my $flag (["f$word", 'bug'], ["a$word", 'attachment']) {
  Bugzilla::FlagType->create({
    name => $flag->[0], description => 'Test', cc_list => '', target_type => $flag->[1], sortkey => 1, is_active => 1,
    is_requestable => 1, is_requesteeble => 1, is_multiplicable => 1, grant_group => undef, request_group => undef,
    inclusions => ['0:0'], exclusions => [],
  });
}

Bugzilla->set_user(Bugzilla::User->new($user->id));
my $key = Bugzilla::User::APIKey->create({user_id => $user->id, description => 'test'})->api_key;
print JSON::XS->new->ascii->encode({
  login => $login, password => $password, api_key => $key, group => $group->name, group_id => $group->id + 0,
  products => \%product, user_id => $user->id + 0, version => BUGZILLA_VERSION,
}), "\n";
