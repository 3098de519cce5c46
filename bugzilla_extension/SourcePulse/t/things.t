# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What bugs are filed under, and what they lose when it goes: products, components, versions, milestones, keywords, flag
# types, and the content of attachments. What is secret here has SECRET in it.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use JSON::XS ();
use Test::More;

my $world = BzWorld->new;
my $json  = JSON::XS->new->canonical->ascii;
# Names that were never used before, in a real tree as well.
my $word = 'W' . time . $$;

require Bugzilla::Component;
require Bugzilla::Version;
require Bugzilla::Milestone;
require Bugzilla::Keyword;
require Bugzilla::FlagType;

sub views_of {
  my ($work) = @_;
  $world->rows;
  $work->();
  $world->new_request;
  my @views = $world->public;
  unlike($json->encode(\@views), qr/SECRET/, 'no secret word');
  return @views;
}

# What a page of an administrator does, by Bugzilla's own classes.
sub create_product {
  my ($name) = @_;
  return Bugzilla::Product->create({name => $name}) unless BzWorld::is_real();
  return Bugzilla::Product->create({name => $name, description => 'x', version => 'unspecified', defaultmilestone => '---',
      allows_unconfirmed => 0, isactive => 1, create_series => 0, classification => 'Unclassified'});
}

sub create_below {
  my ($class, $product, $name) = @_;
  if (!BzWorld::is_real()) {
    my $column = $class eq 'Bugzilla::Component' ? 'name' : 'value';
    return $class->insert_create_data({$column => $name, product_id => $product->id, isactive => 1});
  }
  return $class->create({name => $name, product => $product, description => 'x', initialowner => 'admin@example.org', create_series => 0})
    if $class eq 'Bugzilla::Component';
  return $class->create({value => $name, product => $product});
}

sub rename_to {
  my ($object, $name) = @_;
  my $column = $object->isa('Bugzilla::Version') || $object->isa('Bugzilla::Milestone') ? 'value' : 'name';
  if (BzWorld::is_real()) {
    my $method = $object->can("set_$column") ? "set_$column" : 'set_name';
    $object->$method($name);
  }
  else {
    $object->{$column} = $name;
  }
  $object->update;
  return;
}

sub close_for_entry {
  my ($object) = @_;
  if (BzWorld::is_real()) { $object->set_is_active(0) }
  else                    { $object->{isactive} = 0 }
  $object->update;
  return;
}

my $product;
subtest 'a product' => sub {
  my @views = views_of(sub { $product = create_product("$word P") });
  is_deeply([sort map { $_->{kind} } @views], [qw(milestone.create product.create version.create)], 'comes with a version and a milestone');
  my ($view) = grep { $_->{kind} eq 'product.create' } @views;
  is_deeply($view->{words}, ["$word P"], 'its word');
  is_deeply([sort keys %{$view->{thing}}], [qw(classification id is_active name)], 'what it is');
  is_deeply([@{$view->{thing}}{qw(id name classification)}], [$product->id, "$word P", 'Unclassified'], 'its values');
  ok($view->{thing}->{is_active}, 'open for entry');
  ($view) = views_of(sub { rename_to($product, "$word Q") });
  is_deeply([@$view{qw(kind words)}], ['product.update', ["$word P"]], 'a rename is under the old name');
  is_deeply($view->{changes}, [{field_name => 'name', removed => "$word P", added => "$word Q"}], 'and has the new one');
  is($view->{thing}->{name}, "$word Q", 'it has it');
  ($view) = views_of(sub { close_for_entry(Bugzilla::Product->new($product->id)) });
  is_deeply($view->{changes}, [{field_name => 'is_active', removed => JSON::XS::true(), added => JSON::XS::false()}], 'closed for entry');
  is_deeply([views_of(sub { Bugzilla::Product->new($product->id)->update })], [], 'what changes nothing is not published');
};

my %below = (component => 'Bugzilla::Component', version => 'Bugzilla::Version', milestone => 'Bugzilla::Milestone');
foreach my $kind (sort keys %below) {
  subtest "a $kind" => sub {
    my ($class, $object) = $below{$kind};
    # There must be one that is not deleted.
    views_of(sub { create_below($class, $product, "$word keep") });
    my ($view) = views_of(sub { $object = create_below($class, $product, "$word a") });
    is_deeply([@$view{qw(kind words)}], ["$kind.create", ["$word Q", "$word a"]], 'is made');
    is_deeply([@{$view->{thing}}{qw(id name product product_id)}], [$object->id, "$word a", "$word Q", $product->id], 'in its product');
    ($view) = views_of(sub { rename_to($class->new($object->id), "$word b") });
    is_deeply([@$view{qw(kind words)}], ["$kind.update", ["$word Q", "$word a"]], 'is renamed, under the old name');
    is_deeply($view->{changes}, [{field_name => 'name', removed => "$word a", added => "$word b"}], 'to another');
    ($view) = views_of(sub { $class->new($object->id)->remove_from_db });
    is_deeply([@$view{qw(kind words)}], ["$kind.delete", ["$word Q", "$word b"]], 'goes');
    is_deeply([$world->check(["$kind.deleted", {$kind => $view->{thing}}])], [{send => JSON::XS::true()}], 'which may be sent');
  };
}

subtest 'of a private product' => sub {
  my $secret = Bugzilla::Product->new({name => 'Secret'});
  my $object;
  foreach my $class (sort values %below) {
    is_deeply([views_of(sub { $object = create_below($class, $secret, "$word SECRET") })], [], "$class: not that it is made");
    is_deeply([views_of(sub { rename_to($class->new($object->id), "$word SECRET 2") })], [], 'nor renamed');
    is_deeply([views_of(sub { $class->new($object->id)->remove_from_db })], [], 'nor that it goes');
  }
  is_deeply([views_of(sub { close_for_entry(Bugzilla::Product->new($secret->id)) })], [], 'nor that nothing can be filed there');
  is_deeply([map { $_->{send} ? 1 : 0 } $world->check(['product.changed', {product => {id => $secret->id}, changes => []}],
      ['component.created', {component => {id => 1, product_id => $secret->id}}])], [0, 0], 'nor later, if it became private since');
  $world->dbh->do('UPDATE products SET isactive = 1');
};

subtest 'while one must log in' => sub {
  $world->params(requirelogin => 1);
  is_deeply([views_of(sub { rename_to(Bugzilla::Product->new($product->id), "$word R") })], [], 'nothing');
  is_deeply([map { $_->{send} ? 1 : 0 } $world->check(['keyword.created', {keyword => {id => 1}}])], [0], 'of what waits neither');
  $world->params(requirelogin => 0);
};

subtest 'a keyword' => sub {
  my ($keyword, $bug, $secret);
  my $make = sub { BzWorld::is_real() ? Bugzilla::Keyword->create({name => "${word}k", description => 'x'})
      : Bugzilla::Keyword->insert_create_data({name => "${word}k"}) };
  my ($view) = views_of(sub { $keyword = $make->() });
  is_deeply([@$view{qw(kind words)}, $view->{thing}->{name}], ['keyword.create', ["${word}k"], "${word}k"], 'is made');
  $bug    = $world->create_bug(keywords => ["${word}k"]);
  $secret = $world->create_bug(keywords => ["${word}k"], groups => ['secretgroup'], short_desc => 'SECRET');
  ($view) = views_of(sub { rename_to(Bugzilla::Keyword->new($keyword->id), "${word}l") });
  is_deeply([@$view{qw(kind words)}], ['keyword.update', ["${word}k"]], 'is renamed');
  Bugzilla::Keyword->new($keyword->id)->remove_from_db;
  $world->new_request;
  my @rows = $world->drained;
  is((grep { $_->{kind} eq 'keyword.delete' } @rows), 1, 'goes');
  my @updates = grep { $_->{kind} eq 'bug.update' } @rows;
  is_deeply([map { $_->{bug_id} } @updates], [$bug], 'and the public bugs that lose it are published');
  my ($payload) = map { $_->{payload} } @updates;
  is_deeply($payload->{views}->{public}->{changes}, [{field_name => 'keywords', removed => ["${word}l"], added => []}], 'what they lost');
  ok($payload->{recovered}, 'as found later');
  is_deeply($payload->{views}->{public}->{bug}->{keywords}, [], 'and have no more');
  is($payload->{transaction}, $rows[0]->{payload}->{transaction}, 'in one change set');
};

subtest 'a flag type' => sub {
  my %about = (name => "${word}f", target_type => 'bug');
  my $type = BzWorld::is_real()
    ? Bugzilla::FlagType->create({%about, description => 'x', cc_list => '', sortkey => 1, is_active => 1, is_requestable => 1,
      is_requesteeble => 1, is_multiplicable => 0, grant_group => undef, request_group => undef, inclusions => ['0:0'], exclusions => []})
    : Bugzilla::FlagType->insert_create_data({%about, target_type => 'b'});
  $world->dbh->do('INSERT INTO flaginclusions (type_id) VALUES (?)', undef, $type->id) unless BzWorld::is_real();
  $world->new_request;
  my $bug    = $world->create_bug;
  my $secret = $world->create_bug(groups => ['secretgroup']);
  $world->update_bug($bug, flags => {"${word}f" => ['?', 'bob@example.org']});
  $world->update_bug($secret, flags => {"${word}f" => '?'});
  $world->rows;
  $world->new_request;
  Bugzilla::FlagType->new($type->id)->remove_from_db;
  $world->new_request;
  my @rows = $world->drained;
  is_deeply([map { $_->{bug_id} } @rows], [$bug], 'the public bugs that lose it have a row');
  my $view = $rows[0]->{payload}->{views}->{public};
  is_deeply($view->{changes}, [{field_name => 'flagtypes.name', removed => ["${word}f?(bob)"], added => []}], 'with what they lost');
  is_deeply([map { [$_->{status}, $_->{flag}->{name}] } @{$view->{flags}}], [['X', "${word}f"]], 'the flag is cleared');
  is_deeply($view->{bug}->{flags}, [], 'and gone');
};

subtest 'the flag type of attachments' => sub {
  my $type = BzWorld::is_real()
    ? Bugzilla::FlagType->create({name => "${word}g", target_type => 'attachment', description => 'x', cc_list => '', sortkey => 1, is_active => 1,
      is_requestable => 1, is_requesteeble => 1, is_multiplicable => 0, grant_group => undef, request_group => undef, inclusions => ['0:0'],
      exclusions => []})
    : Bugzilla::FlagType->insert_create_data({name => "${word}g", target_type => 'a'});
  $world->dbh->do('INSERT INTO flaginclusions (type_id) VALUES (?)', undef, $type->id) unless BzWorld::is_real();
  $world->new_request;
  my $bug = $world->create_bug;
  my ($open, $hidden) = ($world->attach($bug), $world->attach($bug, isprivate => 1, description => 'SECRET'));
  $world->update_attachment($_, flags => {"${word}g" => '+'}) foreach $open, $hidden;
  $world->rows;
  $world->new_request;
  Bugzilla::FlagType->new($type->id)->remove_from_db;
  $world->new_request;
  my @views = map { $_->{payload}->{views}->{public} || () } $world->drained;
  is_deeply([map { $_->{attachment}->{id} } @views], [$open], 'the public attachment is published');
  is_deeply($views[0]->{changes}, [{field_name => 'flagtypes.name', removed => ["${word}g+"], added => []}], 'what it lost');
};

subtest 'the content of an attachment' => sub {
  my $bug = $world->create_bug;
  my ($open, $hidden) = ($world->attach($bug), $world->attach($bug, isprivate => 1, description => 'SECRET'));
  my ($view) = views_of(sub { $world->empty_attachment($open) });
  is_deeply([$view->{kind}, @{$view->{attachment}}{qw(id size content_type)}], ['attachment.delete', $open, 0, 'text/plain'], 'is removed');
  ok($view->{attachment}->{is_obsolete}, 'and the attachment obsolete');
  is($view->{who}->{name}, 'admin', 'by whom');
  is_deeply([views_of(sub { $world->empty_attachment($hidden) })], [], 'of a private one nothing is published');
  is_deeply([$world->dbh->selectrow_array('SELECT COUNT(*) FROM attach_data WHERE id = ?', undef, $open)], [0], 'the content is gone');
  my $other = $world->create_bug(groups => ['secretgroup']);
  my $file  = $world->attach($other, description => 'SECRET');
  is_deeply([views_of(sub { $world->empty_attachment($file) })], [], 'nor in a private bug');
};

subtest 'a deletion that is rolled back' => sub {
  my $bug  = $world->create_bug;
  my $file = $world->attach($bug);
  $world->rows;
  $world->dbh->bz_start_transaction;
  $world->empty_attachment($file);
  $world->dbh->bz_rollback_transaction;
  $world->new_request;
  is_deeply([$world->rows], [], 'leaves no row');
};

subtest 'the restricted stream' => sub {
  $world->params(sourcepulse_restricted => 1);
  $world->rows;
  my $secret = Bugzilla::Product->new({name => 'Secret'});
  my $object = create_below('Bugzilla::Version', $secret, "$word SECRET");
  my ($row) = $world->rows;
  is($row->{payload}->{views}->{restricted}->{thing}->{name}, "$word SECRET", 'has everything');
  ok(!$row->{payload}->{views}->{public}, 'and alone');
  $object->remove_from_db;
  $world->params(sourcepulse_restricted => 0);
  $world->rows;
};

subtest 'a module that an upgrade removed from under a running server' => sub {
  my $file = 'Bugzilla/Extension/SourcePulse/RecordThing.pm';
  my $lost = sub { die "no $_[1]\n" if $_[1] eq $file; return };
  delete local $INC{$file};
  local @INC = ($lost, @INC);
  require Bugzilla::Extension::SourcePulse::MissedChanges;
  my $product = Bugzilla::Product->new({name => 'TestProduct'});
  my $version = eval { create_below('Bugzilla::Version', $product, "$word gone") };
  ok($version, 'leaves the change alone') or diag $@;
  is_deeply([$world->rows], [], 'has no row');
  is(Bugzilla::Extension::SourcePulse::MissedChanges::count_missed(), 1, 'and counted as missed');
  Bugzilla::Extension::SourcePulse::MissedChanges::forget_missed(1);
};

done_testing();
