# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What stands in the rows of everything that happens to a public bug.

use 5.10.1;
use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use Test::More;

my $world = BzWorld->new;
my $TIME  = qr/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000Z\z/;
my ($admin) = $world->dbh->selectrow_array(q{SELECT MIN(userid) FROM profiles WHERE login_name LIKE 'admin@%'});
my ($bob)   = $world->dbh->selectrow_array(q{SELECT userid FROM profiles WHERE login_name LIKE 'bob@%'});
my $ada = {id => $admin, name => 'admin'};

# The one public view of WORK.
sub view_of {
  my ($work) = @_;
  $world->rows;
  $work->();
  my @views = $world->public;
  is(scalar @views, 1, 'one row') or diag(explain(\@views));
  return $views[0] || {};
}

sub change_of {
  my ($view, $name) = @_;
  my ($change) = grep { $_->{field_name} eq $name } @{$view->{changes}};
  return $change ? [@$change{qw(removed added)}] : undef;
}

my $bug;

subtest 'a new bug' => sub {
  my $view = view_of(sub { $bug = $world->create_bug(short_desc => "Crash \x{1F4A5} on \x{e9}", cc => ['bob@example.org'], keywords => ['kw1']) });
  is($view->{kind}, 'bug.create', 'kind');
  is_deeply($view->{place}, ['TestProduct', 'TestComponent'], 'where it is');
  is_deeply($view->{who}, $ada, 'who');
  my $fact = $view->{bug};
  is($fact->{id}, $bug, 'id');
  # What an old character set of a database cannot hold is published as it is stored.
  is($fact->{summary}, Bugzilla::Bug->new($bug)->{short_desc}, 'summary');
  like($fact->{summary}, qr/\ACrash .+ on \x{e9}\z/, 'with its letters');
  is_deeply([@$fact{qw(product component classification version)}], ['TestProduct', 'TestComponent', 'Unclassified', 'unspecified'], 'place');
  is_deeply([map { ref $fact->{$_} } qw(cc keywords alias depends_on blocks see_also flags groups)], [('ARRAY') x 8], 'lists');
  is_deeply($fact->{cc}, [{id => $bob, name => 'bob'}], 'cc');
  is_deeply($fact->{keywords}, ['kw1'], 'keywords');
  is_deeply($fact->{creator}, $ada, 'creator');
  ok($fact->{is_open}, 'it is open');
  like($fact->{creation_time}, $TIME, 'creation_time');
  is($fact->{last_change_time}, $fact->{creation_time}, 'last_change_time');
  my ($comment) = @{$view->{comments}};
  is_deeply([@$comment{qw(bug_id count text attachment_id)}], [$bug, 0, 'its description', undef], 'its description');
  is_deeply($comment->{creator}, $ada, 'by whom');
  ok(!exists $fact->{$_}, "no $_") foreach qw(deadline estimated_time remaining_time cclist_accessible);
};

subtest 'a change with a comment' => sub {
  my $view = view_of(sub { $world->update_bug($bug, priority => 'High', short_desc => 'new words', comment => {body => 'why'}) });
  is($view->{kind}, 'bug.update', 'kind');
  is_deeply([map { $_->{field_name} } @{$view->{changes}}], ['priority', 'summary'], 'changes by name');
  is_deeply(change_of($view, 'priority'), ['---', 'High'], 'before and after');
  is_deeply([map { @$_{qw(count text)} } @{$view->{comments}}], [1, 'why'], 'the comment');
  is($view->{transition}, undef, 'no transition');
  is($view->{bug}->{priority}, 'High', 'the bug after it');
};

subtest 'a comment alone' => sub {
  my $view = view_of(sub { $world->update_bug($bug, comment => {body => 'more'}) });
  is_deeply($view->{changes}, [], 'no change');
  is_deeply([map { @$_{qw(count text)} } @{$view->{comments}}], [2, 'more'], 'the comment');
};

subtest 'closed, reopened' => sub {
  my $view = view_of(sub { $world->update_bug($bug, bug_status => 'RESOLVED', resolution => 'FIXED') });
  is_deeply([!!$view->{was_open}, !!$view->{bug}->{is_open}], [!!1, !!0], 'was open, is not');
  is_deeply(change_of($view, 'resolution'), ['', 'FIXED'], 'resolution');
  $view = view_of(sub { $world->update_bug($bug, bug_status => 'CONFIRMED') });
  is_deeply([!!$view->{was_open}, !!$view->{bug}->{is_open}], [!!0, !!1], 'was not open, is');
};

subtest 'a duplicate' => sub {
  my $other = $world->create_bug;
  $world->rows;
  $world->update_bug($other, dup_id => $bug);
  my @rows = $world->rows;
  is_deeply([sort map { $_->{bug_id} } @rows], [sort $bug, $other], 'both bugs have a row');
  my ($of) = map { $_->{payload}->{views}->{public} } grep { $_->{bug_id} == $other } @rows;
  is_deeply([@{$of->{bug}}{qw(resolution dupe_of)}], ['DUPLICATE', $bug], 'of what');
  is_deeply(change_of($of, 'dupe_of'), [undef, $bug], 'the change has it');
  like($rows[0]->{payload}->{transaction}, qr/\A[0-9a-f]{32}\z/, 'a change set has random digits');
  is($rows[1]->{payload}->{transaction}, $rows[0]->{payload}->{transaction}, 'one change set');
};

subtest 'moved' => sub {
  my $view = view_of(sub { $world->update_bug($bug, product => 'TestProduct', component => 'Other') });
  is_deeply([@$view{qw(old_place place)}], [['TestProduct', 'TestComponent'], ['TestProduct', 'Other']], 'from where to where');
  is_deeply(change_of($view, 'component'), ['TestComponent', 'Other'], 'the change has it');
};

subtest 'people, lists and links' => sub {
  my $other = $world->create_bug;
  my $view = view_of(sub { $world->update_bug($bug, assigned_to => 'bob@example.org', cc => {remove => ['bob@example.org']}) });
  is_deeply(change_of($view, 'assigned_to')->[1], {id => $bob, name => 'bob'}, 'a person by id and name');
  is_deeply(change_of($view, 'cc'), [[{id => $bob, name => 'bob'}], []], 'who went from cc');
  $view = view_of(sub { $world->update_bug($bug, keywords => {add => ['kw2'], remove => ['kw1']}) });
  is_deeply(change_of($view, 'keywords'), [['kw1'], ['kw2']], 'keywords');
  my $alias = "alias-$bug-" . time;
  $view = view_of(sub { $world->update_bug($bug, alias => {add => [$alias]}) });
  is_deeply($view->{bug}->{alias}, [$alias], 'alias');
  $view = view_of(sub { $world->update_bug($bug, dependson => {add => [$other]}) });
  is_deeply(change_of($view, 'depends_on'), [[], [$other]], 'a dependency');
  is_deeply($view->{bug}->{depends_on}, [$other], 'in the bug');
  $world->rows;
  $world->update_bug($bug, see_also => {add => ["http://other.example.com/show_bug.cgi?id=7"]});
  my ($linked) = $world->public;
  is_deeply(change_of($linked, 'see_also'), [[], ['http://other.example.com/show_bug.cgi?id=7']], 'see also');
};

subtest 'a link with a number that no bug can have' => sub {
  # Bugzilla accepts its own host with another port as a Bugzilla elsewhere, and for us it is this one.
  (my $host = Bugzilla->params->{urlbase}) =~ s{\A\w+://([^/:]+).*}{$1}s;
  $world->update_bug($bug, see_also => {add => ["https://$host:8443/show_bug.cgi?id=99999999999"]});
  $world->rows;
  my $view = view_of(sub { $world->update_bug($bug, priority => 'Low', comment => {body => 'later'}) });
  is_deeply(change_of($view, 'priority')->[1], 'Low', 'hides nothing else');
  is_deeply($view->{bug}->{see_also}, ['http://other.example.com/show_bug.cgi?id=7'], 'and is not published');
};

subtest 'custom fields of every type' => sub {
  my $other = $world->create_bug;
  my $view = view_of(sub {
    $world->update_bug($bug, cf_text => 'words', cf_select => 'one', cf_multi => ['a', 'b'], cf_big => "two\nlines",
      cf_date => '2026-01-02 03:04:05', cf_day => '2026-01-02', cf_bug => $other, cf_int => 7);
  });
  is_deeply(change_of($view, 'cf_text'), ['', 'words'], 'text');
  is_deeply(change_of($view, 'cf_select'), ['---', 'one'], 'choice');
  is_deeply(change_of($view, 'cf_multi'), [[], ['a', 'b']], 'several choices');
  like($view->{bug}->{cf_big}, qr/\Atwo\r?\nlines\z/, 'large text, with the line ends that Bugzilla stores');
  like($view->{bug}->{cf_date}, $TIME, 'a time');
  is_deeply(change_of($view, 'cf_day'), [undef, '2026-01-02'], 'a day');
  is_deeply(change_of($view, 'cf_bug'), [undef, $other], 'a bug');
  is_deeply(change_of($view, 'cf_int'), [0, 7], 'a number');
  is_deeply($view->{bug}->{cf_multi}, ['a', 'b'], 'in the bug');
};

subtest 'flags of bugs' => sub {
  my $view = view_of(sub { $world->update_bug($bug, flags => {needinfo => ['?', 'bob@example.org']}) });
  is_deeply(change_of($view, 'flagtypes.name'), [[], ['needinfo?(bob)']], 'requested');
  my ($flag) = @{$view->{flags}};
  is_deeply([$flag->{status}, @{$flag->{flag}}{qw(name status)}, $flag->{flag}->{requestee}->{name}], ['?', 'needinfo', '?', 'bob'], 'of whom');
  $view = view_of(sub { $world->update_bug($bug, flags => {needinfo => '+'}) });
  is_deeply([map { $_->{status} } @{$view->{flags}}], ['+'], 'granted');
  $view = view_of(sub { $world->update_bug($bug, flags => {needinfo => '-'}) });
  is_deeply([map { $_->{status} } @{$view->{flags}}], ['-'], 'denied');
  $view = view_of(sub { $world->update_bug($bug, flags => {needinfo => 'X'}) });
  is_deeply([map { [$_->{status}, $_->{flag}->{status}] } @{$view->{flags}}], [['X', '-']], 'cleared, as it was');
  is_deeply($view->{bug}->{flags}, [], 'the bug has none');
};

subtest 'attachments' => sub {
  my $id;
  my $view = view_of(sub { $id = $world->attach($bug, description => 'a fix', filename => 'f.patch', ispatch => 1, mimetype => 'text/plain') });
  is($view->{kind}, 'attachment.create', 'kind');
  my $fact = $view->{attachment};
  is_deeply([@$fact{qw(id bug_id file_name summary content_type size)}], [$id, $bug, 'f.patch', 'a fix', 'text/plain', 5], 'what it is');
  ok($fact->{is_patch} && !$fact->{is_obsolete} && !$fact->{is_private}, 'its bits');
  ok(!grep({/data/} keys %$fact), 'not what is in it');
  $view = view_of(sub { $world->update_attachment($id, description => 'a better fix', flags => {review => ['?', 'bob@example.org']}) });
  is($view->{kind}, 'attachment.update', 'kind');
  is_deeply(change_of($view, 'summary'), ['a fix', 'a better fix'], 'its summary');
  is_deeply(change_of($view, 'flagtypes.name'), [[], ['review?(bob)']], 'its flag');
  is_deeply([map { [$_->{status}, $_->{flag}->{name}] } @{$view->{flags}}], [['?', 'review']], 'by itself');
  $view = view_of(sub { $world->update_attachment($id, is_obsolete => 1) });
  my ($was, $is) = @{change_of($view, 'is_obsolete')};
  ok(!$was && $is, 'obsolete');
};

subtest 'a mass change is one change set' => sub {
  my @bugs = map { $world->create_bug } 1 .. 5;
  $world->rows;
  $world->dbh->bz_start_transaction;
  $world->update_bug($_, priority => 'Low') foreach @bugs;
  $world->dbh->bz_commit_transaction;
  my @rows = $world->rows;
  is_deeply([map { $_->{bug_id} } @rows], \@bugs, 'a row for each');
  my %transactions = map { $_->{payload}->{transaction} => 1 } @rows;
  is(scalar keys %transactions, 1, 'all of one transaction');
};

subtest 'the history numbers an update' => sub {
  $world->rows;
  $world->update_bug($bug, priority => 'Lowest', short_desc => 'again');
  my ($row) = $world->rows;
  my ($last) = $world->dbh->selectrow_array('SELECT MAX(id) FROM bugs_activity WHERE bug_id = ?', undef, $bug);
  is($row->{payload}->{activity}, $last, 'its last line');
  $world->update_bug($bug, comment => {body => 'x'});
  ($row) = $world->rows;
  is($row->{payload}->{activity}, undef, 'a comment alone has none');
};

subtest 'a bug that is deleted' => sub {
  my $gone = $world->create_bug;
  my $view = view_of(sub { $world->delete_bug($gone) });
  is_deeply([@$view{qw(kind id)}], ['bug.delete', $gone], 'its number');
  is_deeply([sort keys %$view], [qw(creation_time id kind place)], 'and nothing else');
};

subtest 'the restricted stream' => sub {
  $world->params(sourcepulse_restricted => 1);
  $world->rows;
  my $secret = $world->create_bug(groups => ['secretgroup']);
  my ($row) = $world->rows;
  my $view = $row->{payload}->{views}->{restricted};
  ok(!$row->{payload}->{views}->{public}, 'what is private is not public');
  is_deeply($view->{bug}->{groups}, ['secretgroup'], 'it has the groups');
  is($view->{who}->{name}, 'admin@example.org', 'and whole logins');
  $world->update_bug($secret, groups => {remove => ['secretgroup']}, comment => {body => 'hush', is_private => 1});
  ($row) = $world->rows;
  my $full = $row->{payload}->{views}->{restricted};
  is($full->{transition}, 'published', 'the transition');
  is_deeply(change_of($full, 'groups'), [['secretgroup'], []], 'the groups that went');
  is_deeply([map { $_->{text} } @{$full->{comments}}], ['hush'], 'private comments');
  $world->params(sourcepulse_groups_as => 'ids');
  $world->update_bug($secret, groups => {add => ['secretgroup']});
  ($row) = $world->rows;
  like($row->{payload}->{views}->{restricted}->{bug}->{groups}->[0], qr/\A[0-9]+\z/, 'groups as numbers if that is wanted');
  $world->params(sourcepulse_restricted => 0, sourcepulse_groups_as => 'names');
};

done_testing();
