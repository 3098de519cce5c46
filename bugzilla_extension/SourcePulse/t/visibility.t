# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What the public stream never gets. Everything that is secret here has SECRET in it.

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

sub published_by {
  my ($work) = @_;
  $world->rows;
  $work->();
  my @views = $world->public;
  unlike($json->encode(\@views), qr/SECRET/, 'no secret word');
  return @views;
}

sub change_of {
  my ($view, $name) = @_;
  my ($change) = grep { $_->{field_name} eq $name } @{$view->{changes}};
  return $change ? [@$change{qw(removed added)}] : undef;
}

# The check before publishing.
sub state_now {
  my ($kind, $id) = @_;
  $world->new_request;
  my $method = "state_of_$kind";
  require Bugzilla::Extension::SourcePulse::Visibility;
  return Bugzilla::Extension::SourcePulse::Visibility->new->$method($id)->{$id};
}

my @in_group = (groups => ['secretgroup']);

subtest 'where one must log in nothing is public' => sub {
  my $bug = $world->create_bug;
  $world->params(requirelogin => 1);
  is_deeply([published_by(sub { $bug = $world->create_bug; $world->update_bug($bug, priority => 'High'); $world->attach($bug); $world->delete_bug($bug) })],
    [], 'no row');
  $bug = $world->create_bug;
  is(state_now(bugs => $bug), 'private', 'the check agrees');
  $world->params(requirelogin => 0);
  is(state_now(bugs => $bug), 'public', 'until anybody may read again');
};

subtest 'a bug that is private' => sub {
  my $bug;
  is_deeply([published_by(sub { $bug = $world->create_bug(@in_group, short_desc => 'SECRET') })], [], 'is not published when it is made');
  is_deeply([published_by(sub { $world->update_bug($bug, priority => 'High', comment => {body => 'SECRET'}) })], [], 'nor when it changes');
  is_deeply([published_by(sub { my $id = $world->attach($bug, description => 'SECRET'); $world->update_attachment($id, is_obsolete => 1) })],
    [], 'nor its attachments');
  is_deeply([published_by(sub { $world->update_bug($bug, flags => {needinfo => '?'}) })], [], 'nor its flags');
  is_deeply([published_by(sub { $world->delete_bug($bug) })], [], 'nor that it is gone');
};

subtest 'with or_groups on as well' => sub {
  $world->params(or_groups => 1);
  my $bug;
  is_deeply([published_by(sub { $bug = $world->create_bug(@in_group, short_desc => 'SECRET') })], [], 'a new private bug is not published');
  is_deeply([published_by(sub { $world->update_bug($bug, groups => {add => ['othergroup']}) })], [], 'nor in two groups')
    unless BzWorld::is_real();
  $world->params(or_groups => 0);
};

subtest 'a product that is private as a whole' => sub {
  is_deeply([published_by(sub { $world->create_bug(product => 'Secret', component => 'SecretComponent', short_desc => 'SECRET') })], [],
    'its bugs are not published');
};

subtest 'a bug becomes private' => sub {
  my $bug = $world->create_bug(short_desc => 'was read by all');
  my ($view) = published_by(sub {
    $world->update_bug($bug, groups => {add => ['secretgroup']}, short_desc => 'SECRET', comment => {body => 'SECRET'}, priority => 'High');
  });
  is_deeply([sort keys %$view], [qw(id kind old_place place transition)], 'its number, and where it was');
  is_deeply([@$view{qw(id transition)}], [$bug, 'hidden'], 'hidden');
  is(state_now(bugs => $bug), 'private', 'the check agrees');
  my $moved = $world->create_bug;
  ($view) = published_by(sub { $world->update_bug($moved, product => 'Secret', component => 'SecretComponent') });
  is_deeply([@$view{qw(old_place place)}], [(['TestProduct', 'TestComponent']) x 2], 'not where it went');
  $world->params(sourcepulse_tell_hidden => 0);
  my $other = $world->create_bug;
  is_deeply([published_by(sub { $world->update_bug($other, groups => {add => ['secretgroup']}) })], [], 'not even that, if it is not wanted');
  $world->params(sourcepulse_tell_hidden => 1);
};

subtest 'a bug becomes public' => sub {
  my $bug = $world->create_bug(@in_group, short_desc => 'SECRET');
  $world->update_bug($bug, comment => {body => 'an old comment'}, cf_text => 'SECRET', flags => {needinfo => '?'});
  my ($view) = published_by(sub {
    $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'for all to read', cf_text => 'clean',
      comment => {body => 'now public'}, flags => {needinfo => 'X'});
  });
  is($view->{transition}, 'published', 'published');
  is_deeply($view->{changes}, [], 'no old values');
  is_deeply($view->{flags}, [], 'not what was done to flags');
  is($view->{who}, undef, 'not by whom');
  is($view->{bug}->{summary}, 'for all to read', 'the bug as it is');
  is_deeply([map { $_->{text} } @{$view->{comments}}], ['now public'], 'only the new comment');
  is_deeply($view->{bug}->{groups}, [], 'no groups');
};

subtest 'fields that no visitor sees' => sub {
  my $bug = $world->create_bug;
  is_deeply([published_by(sub { $world->update_bug($bug, estimated_time => 5) })], [], 'time tracking');
  is_deeply([published_by(sub { $world->update_bug($bug, deadline => '2030-01-02') })], [], 'the deadline');
  my ($view) = published_by(sub { $world->update_bug($bug, deadline => '2030-01-03', priority => 'High') });
  is_deeply([map { $_->{field_name} } @{$view->{changes}}], ['priority'], 'beside one that is published');
  $world->params(sourcepulse_hidden_fields => 'cf_text');
  is_deeply([published_by(sub { $world->update_bug($bug, cf_text => 'SECRET') })], [], 'a field that the administrator hides');
  ($view) = published_by(sub { $world->update_bug($bug, cf_text => 'SECRET 2', priority => 'Low') });
  ok(!exists $view->{bug}->{cf_text}, 'not in the bug');
  $world->params(sourcepulse_hidden_fields => '');
};

subtest 'comments' => sub {
  my $bug = $world->create_bug;
  $world->rows;
  $world->update_bug($bug, comment => {body => 'for later', is_private => 1});
  is_deeply([$world->public], [], 'a private one');
  my $private = $world->last_comment($bug);
  my ($view) = published_by(sub { $world->update_bug($bug, comment => {body => 'SECRET', is_private => 1}, priority => 'High') });
  is_deeply($view->{comments}, [], 'one beside a change');
  ok(!change_of($view, 'longdescs.isprivate'), 'nor its privacy');
  ($view) = published_by(sub { $world->update_bug($bug, comment_is_private => {$private => 0}) });
  is_deeply([map { $_->{id} } @{$view->{comments_published}}], [$private], 'one that becomes public');
  $world->update_bug($bug, comment => {body => 'read by all'});
  my $public = $world->last_comment($bug);
  is(state_now(comments => $public), 'public', 'the check answers public');
  ($view) = published_by(sub { $world->update_bug($bug, comment_is_private => {$public => 1}) });
  is_deeply($view->{comments_hidden}, [$public], 'one that becomes private: its number');
  is_deeply($view->{changes}, [], 'and nothing else');
  is(state_now(comments => $public), 'private', 'the check answers private');
};

subtest 'hours that are booked without a text' => sub {
  my $bug = $world->create_bug;
  $world->update_bug($bug, comment => {body => 'words'});
  my ($view) = grep { $_->{kind} eq 'bug.update' } $world->public;
  my @events = $world->events_of({%$view, comments => [{%{$view->{comments}->[0]}, text => ''}]});
  is_deeply([map { $_->[0] } @events], ['comment.created'], 'an empty comment');
  my ($verdict) = $world->check(@events);
  ok(!$verdict->{send}, 'is not sent');
  my $marks = $world->tips;
  $world->next_second;
  $world->update_bug($bug, comment => {body => 'for its hours'});
  $world->rows;
  $world->dbh->do(q{UPDATE longdescs SET thetext = '' WHERE comment_id = ?}, undef, $world->last_comment($bug));
  is_deeply([map { @{$_->{comments} || []} } $world->recovered($marks)], [], 'nor found later');
  $world->create_bug(comment => '');
  my ($created) = grep { $_->{kind} eq 'bug.create' } $world->public;
  is_deeply([map { $_->{count} } @{$created->{comments}}], [0], 'but a bug can be filed without a description');
};

subtest 'attachments' => sub {
  my $bug = $world->create_bug;
  my $id;
  is_deeply([published_by(sub { $id = $world->attach($bug, isprivate => 1, description => 'SECRET') })], [], 'a private one');
  is(state_now(attachments => $id), 'private', 'the check answers private');
  is_deeply([published_by(sub { $world->update_attachment($id, description => 'SECRET 2') })], [], 'a change of it');
  is_deeply([published_by(sub { $world->update_attachment($id, flags => {review => '?'}) })], [], 'its flag');
  is_deeply([published_by(sub { $world->update_bug($bug, comment => {body => 'x'}); $world->rows;
        $world->dbh->do('UPDATE longdescs SET type = 5, extra_data = ?, thetext = ? WHERE comment_id = ?', undef, $id, 'SECRET',
          $world->last_comment($bug)) })], [], 'the comment it came with');
  is(state_now(comments => $world->last_comment($bug)), 'private', 'the check knows it by its attachment');
  my ($view) = published_by(sub { $world->update_attachment($id, is_private => 0, description => 'clean') });
  is($view->{transition}, 'published', 'published');
  is_deeply([$view->{changes}, $view->{who}, $view->{flags}], [[], undef, []], 'without what it was');
  ($view) = published_by(sub { $world->update_attachment($id, is_private => 1, description => 'SECRET 3') });
  is_deeply([sort keys %$view], [qw(bug_id id kind place transition)], 'hidden: numbers only');
};

subtest 'numbers of other bugs' => sub {
  my $secret = $world->create_bug(@in_group);
  my $open   = $world->create_bug;
  my $bug    = $world->create_bug;
  my ($view) = published_by(sub { $world->update_bug($bug, dependson => {add => [$secret, $open]}, blocked => {add => []}) });
  is_deeply(change_of($view, 'depends_on'), [[], [$open]], 'in a change');
  is_deeply($view->{bug}->{depends_on}, [$open], 'in the bug');
  is_deeply([published_by(sub { $world->update_bug($bug, dependson => {remove => [$secret]}) })], [], 'nothing is left of a change of only them');
  is_deeply([published_by(sub { $world->update_bug($bug, cf_bug => $secret) })], [], 'in a custom field');
  ($view) = published_by(sub { $world->update_bug($bug, cf_bug => $open) });
  is_deeply(change_of($view, 'cf_bug'), [undef, $open], 'as its old value');
  my @views = published_by(sub { $world->update_bug($bug, dup_id => $secret) });
  ($view) = grep { $_->{bug} && $_->{bug}->{id} == $bug } @views;
  is($view->{bug}->{dupe_of}, undef, 'as what it duplicates');
  is(change_of($view, 'dupe_of'), undef, 'nor in the change');
  ok(!(grep { ($_->{bug} ? $_->{bug}->{id} : $_->{id}) == $secret } @views), 'and the other bug has no row');
};

subtest 'people' => sub {
  my $bug = $world->create_bug(cc => ['bob@example.org']);
  my ($view) = published_by(sub { $world->update_bug($bug, assigned_to => 'bob@example.org', flags => {needinfo => ['?', 'bob@example.org']}) });
  my $text = $json->encode($view);
  unlike($text, qr/example\.org/, 'no address anywhere');
  like($text, qr/needinfo\?\(bob\)/, 'but who is meant');
  $world->params(usevisibilitygroups => 1);
  ($view) = published_by(sub { $world->update_bug($bug, cc => {remove => ['bob@example.org']}, flags => {needinfo => 'X'}) });
  is(change_of($view, 'cc')->[0]->[0]->{name}, undef, 'no name where people are not visible to each other');
  unlike($json->encode($view), qr/bob|admin/, 'nowhere');
  $world->params(usevisibilitygroups => 0);
};

subtest 'other classes' => sub {
  is_deeply([published_by(sub {
    foreach my $class (qw(User Group Comment Field)) {
      my ($id) = $class eq 'Comment' ? $world->last_comment($world->create_bug) : 1;
      $world->rows;
      my $object = "Bugzilla::$class"->new($id);
      Bugzilla::Hook::process('object_end_of_create', {class => ref $object, object => $object});
      Bugzilla::Hook::process('object_end_of_update', {object => $object, old_object => $object, changes => {name => ['SECRET', 'SECRET 2']}});
      Bugzilla::Hook::process('object_before_delete', {object => $object});
    }
  })], [], 'users, groups, fields and all else');
};

subtest 'the check before publishing only removes' => sub {
  my $bug = $world->create_bug(@in_group, short_desc => 'SECRET');
  my ($row) = $world->dbh->selectrow_array('SELECT COUNT(*) FROM sourcepulse_outbox WHERE is_public <> 0');
  is($row, 0, 'a row that was private when it was written');
  $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'clean');
  my @rows = $world->rows;
  is_deeply([map { $_->{payload}->{views}->{public} ? $_->{payload}->{views}->{public}->{transition} : 'none' } @rows], ['published'],
    'has nothing to publish when the bug is public later');
  is(state_now(bugs => 2_000_000_000), 'gone', 'what is gone has a state of its own');
};

subtest 'behind the back of all hooks' => sub {
  my $bug = $world->create_bug;
  my ($group) = $world->dbh->selectrow_array(q{SELECT id FROM groups WHERE name = 'secretgroup'});
  is(state_now(bugs => $bug), 'public', 'public');
  $world->dbh->do('INSERT INTO bug_group_map (bug_id, group_id) VALUES (?, ?)', undef, $bug, $group);
  is(state_now(bugs => $bug), 'private', 'a group that came by SQL is seen');
};

subtest 'in doubt private' => sub {
  my $bug = $world->create_bug;
  no warnings qw(once redefine);
  local *Bugzilla::Extension::SourcePulse::Visibility::public_bugs = sub { die "no answer\n" };
  my @views = published_by(sub { $world->update_bug($bug, short_desc => 'SECRET', dependson => {add => [$world->create_bug]}) });
  is_deeply(\@views, [], 'visibility that fails has no public view');
};

done_testing();
