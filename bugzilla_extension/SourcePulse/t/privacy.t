# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Ways on which something private once got into the public stream, or something public did not. What is secret here has
# SECRET in it.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use JSON::XS ();
use Test::More;

my $world    = BzWorld->new;
my $json     = JSON::XS->new->canonical->ascii;
my $TABLE    = BzWorld::TABLE();
my @in_group = (groups => ['secretgroup']);
my $BOB      = 'bob@example.org';

sub is_clean {
  my ($views, $what) = @_;
  unlike($json->encode($views), qr/SECRET/, "$what: no secret word");
  return;
}

sub change_of {
  my ($view, $name) = @_;
  my ($change) = grep { $_->{field_name} eq $name } @{$view->{changes}};
  return $change ? [@$change{qw(removed added)}] : undef;
}

# The rows of WORK can only be written thin.
sub thin_while {
  my ($function, $work) = @_;
  no strict 'refs';
  no warnings 'redefine';
  local *{BzWorld::collector($function)} = sub { die "no facts\n" };
  return $work->();
}

sub public_of { return map { {kind => $_->{kind}, %$_} } map { $_->{payload}->{views}->{public} || () } @_; }

# While one must log in to see anything.
sub closed {
  my ($work) = @_;
  $world->next_second;
  $world->params(requirelogin => 1);
  $work->();
  $world->params(requirelogin => 0);
  $world->next_second;
  return;
}

# What drain.pl does with every request.
sub drain_looks {
  require Bugzilla::Extension::SourcePulse::PrivatePeriods;
  $world->new_request;
  Bugzilla::Extension::SourcePulse::PrivatePeriods::note_site(Bugzilla->params->{requirelogin} ? 0 : 1);
  return;
}

subtest 'the flag of a private attachment goes when its bug is moved' => sub {
  my $type = BzWorld::is_real() ? 'review' : 'core-review';
  my $bug    = $world->create_bug;
  my $hidden = $world->attach($bug, isprivate => 1, description => 'SECRET');
  my $open   = $world->attach($bug, description => 'open');
  $world->update_attachment($_, flags => {$type => ['?', 'admin@example.org']}) foreach $hidden, $open;
  $world->update_bug($bug, flags => {needinfo => '?'});
  $world->rows;
  my $marks = $world->tips;
  $world->next_second;
  $world->params(sourcepulse_restricted => 1);
  # To where that flag type does not exist.
  my %to = (component => 'Other');
  if (BzWorld::is_real()) {
    $world->dbh->do('DELETE FROM flaginclusions WHERE type_id IN (SELECT id FROM flagtypes WHERE name = ?)', undef, $type);
  }
  else {
    %to = (product => 'Secret', component => 'SecretComponent', groups => {remove => ['secretgroup']});
  }
  $world->update_bug($bug, %to, priority => 'High');
  $world->params(sourcepulse_restricted => 0);
  my ($row) = grep { $_->{bug_id} == $bug } $world->rows;
  my ($full, $public) = @{$row->{payload}->{views}}{qw(restricted public)};
  is_deeply([map { $_->{attachment_id} } grep { $_->{flag}->{name} eq $type } @{$full->{flags}}], [$hidden, $open], 'each flag knows its attachment');
  is(change_of($full, 'flagtypes.name'), undef, 'none is a change of the bug');
  is_deeply([map { $_->{attachment_id} } @{$public->{flags}}], [$open], 'the public hears of the public one');
  ok(change_of($public, 'priority'), 'and of the move');
  is(change_of($public, 'flagtypes.name'), undef, 'and of no other flag');
  foreach my $view (grep { $_->{kind} eq 'bug.update' } $world->recovered($marks)) {
    is(change_of($view, 'flagtypes.name'), undef, 'nor does the history have it');
  }
  if (BzWorld::is_real()) {
    $world->dbh->do('INSERT INTO flaginclusions (type_id) SELECT id FROM flagtypes WHERE name = ?', undef, $type);
  }
};

subtest 'a thin row of the second in which the bug became public' => sub {
  my $bug = $world->create_bug(@in_group, short_desc => 'SECRET');
  $world->rows;
  my ($live, @thin);
  # One second, three updates of one person.
  $world->next_second;
  $world->update_bug($bug, short_desc => 'SECRET 2', priority => 'Low');
  $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'clean');
  $world->rows;
  thin_while('bug_updated', sub { $world->update_bug($bug, priority => 'High', comment => {body => 'words'}) });
  my @views = public_of($world->drained);
  is_clean(\@views, 'the third of them');
  is_deeply([map { $_->{field_name} } @{$views[0]->{changes}}], ['priority'], 'its own change');
  is_deeply(change_of($views[0], 'priority'), ['Low', 'High'], 'once');
  is_deeply([map { $_->{text} } @{$views[0]->{comments}}], ['words'], 'and its comment');
};

subtest 'a thin row of an attachment of that second' => sub {
  my $bug = $world->create_bug;
  my $id  = $world->attach($bug, isprivate => 1, description => 'SECRET');
  $world->next_second;
  $world->update_attachment($id, description => 'SECRET 2');
  $world->update_attachment($id, description => 'clean', is_private => 0);
  $world->rows;
  thin_while('attachment_updated', sub { $world->update_attachment($id, description => 'cleaner') });
  my @views = public_of($world->drained);
  is_clean(\@views, 'the third of them');
  is_deeply(change_of($views[0], 'summary'), ['clean', 'cleaner'], 'its own change');
};

subtest 'while one must log in, and afterwards' => sub {
  my $bug   = $world->create_bug;
  my $file  = $world->attach($bug);
  my $marks = $world->tips;
  closed(sub {
    $world->update_bug($bug, short_desc => 'SECRET', priority => 'High', comment => {body => 'SECRET'});
    $world->update_attachment($file, description => 'SECRET');
    $world->create_bug(short_desc => 'SECRET');
    $world->attach($bug, description => 'SECRET');
  });
  $world->update_bug($bug, short_desc => 'clean', comment => {body => 'open again'});
  my @live = $world->public;
  is_deeply([map { @{$_->{changes}} } grep { $_->{kind} eq 'bug.update' } @live],
    [{field_name => 'summary', removed => 'SECRET', added => 'clean'}], 'what is done openly is published, as Bugzilla shows it');
  drain_looks();
  my @found = $world->recovered($marks);
  is_deeply([map { $_->{text} } map { @{$_->{comments} || []} } @found], [], 'of that second nothing is found');
  is_clean([map { {%$_, bug => undef, attachment => undef} } grep { $_->{kind} ne 'bug.update' || !change_of($_, 'summary') } @found],
    'what was done while it was closed is not found later');
};

subtest 'closed and opened between two looks, without a change that a hook sees' => sub {
  my $bug   = $world->create_bug;
  my $other = $world->create_bug;
  my $marks = $world->tips;
  closed(sub {
    $world->dbh->do('INSERT INTO longdescs (bug_id, who, bug_when, thetext, isprivate, type) VALUES (?, 1, LOCALTIMESTAMP(0), ?, 0, 0)',
      undef, $bug, 'SECRET');
    Bugzilla::Hook::process('template_before_process', {vars => {}, file => 'admin/params/editparams.html.tmpl'});
    $world->next_second;
  }) unless BzWorld::is_real();
  Bugzilla::Hook::process('template_before_process', {vars => {}, file => 'admin/params/editparams.html.tmpl'});
  $world->next_second;
  $world->update_bug($other, comment => {body => 'open'});
  $world->rows;
  my @found = $world->recovered($marks);
  is_clean(\@found, 'the page of parameters remembers it');
  is_deeply([map { $_->{text} } map { @{$_->{comments} || []} } @found], ['open'], 'and what came after is found');
};

subtest 'rows that wait when parameters become stricter' => sub {
  my $bug = $world->create_bug(cc => [$BOB], cf_text => 'SECRET');
  my $far = $world->create_bug;
  $world->update_bug($bug, cf_text => 'SECRET 2', priority => 'High', assigned_to => $BOB, flags => {needinfo => ['?', $BOB]});
  $world->update_bug($bug, flags => {needinfo => 'X'}, comment => {body => 'words'});
  $world->update_bug($bug, groups => {add => ['secretgroup']});
  $world->update_bug($bug, groups => {remove => ['secretgroup']});
  my @events = map { $world->events_of($_) } grep { $_->{kind} =~ /bug/ } $world->public;
  $world->params(sourcepulse_hidden_fields => 'cf_text');
  my @sent = map { $_->{data} || () } $world->check(@events);
  is_clean(\@sent, 'a field that is hidden since');
  ok((grep { $_->{changes} && change_of($_, 'priority') } @sent), 'the rest of it is sent');
  $world->params(sourcepulse_hidden_fields => '', usevisibilitygroups => 1);
  my @verdicts = $world->check(@events);
  unlike($json->encode([map { $verdicts[$_]->{data} || ($verdicts[$_]->{send} ? $events[$_]->[1] : ()) } 0 .. $#events]), qr/bob|admin/, 'names');
  $world->params(usevisibilitygroups => 0, sourcepulse_tell_hidden => 0);
  my @types = map { $events[$_->[0]]->[0] } grep { $_->[1]->{send} } map { [$_, ($world->check($events[$_]))[0]] } 0 .. $#events;
  ok(!(grep {/hidden/} @types), 'that something was hidden');
  $world->params(sourcepulse_tell_hidden => 1, requirelogin => 1);
  is_deeply([grep { $_->{send} || $_->{bug} } $world->check(@events, ['bug.hidden', {id => $bug}], ['bug.deleted', {id => 2_000_000_000}])],
    [], 'anything at all');
  $world->params(requirelogin => 0);
};

subtest 'of a neighbour that becomes private only the number is removed' => sub {
  my $meta = $world->create_bug;
  my $leaf = $world->create_bug(dependson => []);
  $world->update_bug($leaf, blocked => {add => [$meta]});
  $world->rows;
  $world->update_bug($leaf, bug_status => 'RESOLVED', resolution => 'FIXED');
  $world->update_bug($leaf, blocked => {remove => [$meta]});
  my @events = map { $world->events_of($_) } $world->public;
  my ($closed, $unlinked) = @events;
  $world->update_bug($meta, groups => {add => ['secretgroup']});
  $world->rows;
  my ($verdict, $other) = $world->check($closed, $unlinked);
  ok($verdict->{send}, 'the closing is sent');
  is_deeply($verdict->{data}->{bug}->{blocks}, [], 'without the number');
  is_deeply($verdict->{data}->{changes}, $closed->[1]->{changes}, 'with all that it was about');
  my %same = (%{$closed->[1]}, bug => {%{$closed->[1]->{bug}}, blocks => []});
  is($json->encode($verdict->{data}), $json->encode(\%same), 'and nothing else is different');
  ok(!$other->{send}, 'what was only about that neighbour is withheld');
  is($other->{bug}, $leaf, 'and names the bug, which can be fetched again');
};

subtest 'places of what was cut move with what is left' => sub {
  my $secret = $world->create_bug(@in_group);
  my $open   = $world->create_bug;
  my $bug    = $world->create_bug(cf_text => 'long');
  $world->rows;
  $world->update_bug($bug, dependson => {add => [$open]}, short_desc => 'long', priority => 'High');
  my ($event) = map { $world->events_of($_) } $world->public;
  my $data = $event->[1];
  $data->{bug}->{depends_on} = [$open, $secret];
  unshift(@{$data->{changes}}, {field_name => 'blocks', removed => [], added => [$secret]});
  $data->{truncated} = [
    {field => '/bug/depends_on', kept => 2, total => 9}, {field => '/changes/0/added', kept => 1, total => 5},
    {field => '/changes/3/added', kept => 4, total => 99}, {field => '/bug/cf_text', kept => 4, total => 70},
  ];
  $world->params(sourcepulse_hidden_fields => 'cf_text');
  my ($verdict) = $world->check($event);
  $world->params(sourcepulse_hidden_fields => '');
  is_deeply([map { $_->{field_name} } @{$verdict->{data}->{changes}}], [qw(depends_on priority summary)], 'a change goes');
  is_deeply($verdict->{data}->{truncated},
    [{field => '/bug/depends_on', kept => 1, total => 9}, {field => '/changes/2/added', kept => 4, total => 99}], 'the others are where they are now');
};

subtest 'the other side of a dependency, in the second of an update of its own' => sub {
  foreach my $is_first (0, 1) {
    my ($meta, $leaf) = ($world->create_bug, $world->create_bug);
    $world->rows;
    $world->new_request;
    $world->next_second;
    my $marks  = $world->tips;
    my $link   = sub { $world->update_bug($leaf, dependson => {add => [$meta]}) };
    my $change = sub { $world->update_bug($meta, priority => 'High', short_desc => 'other') };
    my $new;
    my $file   = sub { $new = $world->create_bug(dependson => [$meta]) };
    $_->() foreach $is_first ? ($link, $file, $change) : ($change, $link, $file);
    my ($live) = grep { $_->{bug_id} == $meta } $world->rows;
    $world->new_request;
    require Bugzilla::Extension::SourcePulse::HistoryScan;
    my @found = grep { $_->{bug_id} == $meta && $_->{kind} eq 'bug.update' && @{$_->{activities}} }
      @{Bugzilla::Extension::SourcePulse::HistoryScan::page($marks, 100)->{rows}};
    my $is_live = sub { scalar grep { $_ == $live->{payload}->{activity} } @{$_[0]->{activities}} };
    is((grep { $is_live->($_) } @found), 1, 'the update is one row');
    my @others = map { $json->decode($_->{payload})->{views}->{public}->{changes} } grep { !$is_live->($_) } @found;
    is_deeply(\@others, [map { [{field_name => 'blocks', removed => [], added => [$_]}] } $leaf, $new], 'each other side is its own');
  }
};

subtest 'a comment about a duplicate has its number' => sub {
  my ($bug, $open, $secret) = ($world->create_bug, $world->create_bug, $world->create_bug(@in_group));
  $world->rows;
  $world->update_bug($bug, dup_id => $open);
  my @comments = map { @{$_->{comments} || []} } $world->public;
  is_deeply([sort map {"$_->{type} $_->{dupe_bug_id}"} @comments], ["dupe_of $open", "has_dupe $bug"], 'of what');
  my $other = $world->create_bug;
  $world->rows;
  $world->update_bug($other, dup_id => $secret);
  @comments = map { @{$_->{comments} || []} } $world->public;
  is_deeply([map { [@$_{qw(type dupe_bug_id)}] } @comments], [['dupe_of', undef]], 'not of a private bug');
};

subtest 'a user who was deleted' => sub {
  plan skip_all => 'the page that deletes users is tried in a real tree by its own test' if BzWorld::is_real();
  my $dbh = $world->dbh;
  $dbh->do(q{INSERT INTO profiles VALUES (7, 'gone@example.org', 'Gone')});
  $dbh->do(q{INSERT INTO audit_log VALUES (1, 'Bugzilla::User', 7, '__create__', NULL, 'gone@example.org', '2020-01-01 00:00:00')});
  my $bug = $world->create_bug(cc => ['gone@example.org']);
  $world->update_bug($bug, qa_contact => 'gone@example.org');
  $world->rows;
  my $marks = $world->tips;
  $world->next_second;
  my ($now) = $dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  $dbh->do('DELETE FROM cc WHERE who = 7');
  Bugzilla::Bug::LogActivityEntry($bug, 'cc', 'gone@example.org', '', 1, $now);
  $dbh->do('UPDATE bugs SET qa_contact = NULL WHERE qa_contact = 7');
  Bugzilla::Bug::LogActivityEntry($bug, 'qa_contact', 'gone@example.org', '', 1, $now);
  $dbh->do('DELETE FROM profiles WHERE userid = 7');
  my ($view) = $world->recovered($marks);
  is_deeply(change_of($view, 'cc'), [[{id => 7, name => 'gone'}], []], 'was one of those who watch');
  is_deeply(change_of($view, 'qa_contact'), [{id => 7, name => 'gone'}, undef], 'was the contact');
  $dbh->do('DELETE FROM audit_log');
  ($view) = $world->recovered($marks);
  is_deeply(change_of($view, 'cc'), [[], []], 'that there was a change is published even if the person is unknown');
};

subtest 'bugs that are imported' => sub {
  plan skip_all => 'importxml.pl is tried in a real tree by its own test' if BzWorld::is_real();
  my $dbh = $world->dbh;
  Bugzilla::Group->insert_create_data({name => 'passing', isbuggroup => 1});
  my $former = $world->create_bug(groups => ['passing']);
  Bugzilla::Group->new({name => 'passing'})->remove_from_db;
  $world->rows;
  $world->next_second;
  my $marks  = $world->tips;
  my $import = sub {
    my ($text) = @_;
    my $id = $world->create_bug(short_desc => $text);
    $dbh->do('UPDATE bugs SET creation_ts = ? WHERE bug_id = ?', undef, '2019-01-02 03:04:05', $id);
    $dbh->do('UPDATE longdescs SET bug_when = ?, thetext = ? WHERE bug_id = ?', undef, '2019-01-02 03:04:05', $text, $id);
    $dbh->do('INSERT INTO longdescs (bug_id, who, bug_when, thetext, isprivate, type) VALUES (?, 1, LOCALTIMESTAMP(0), ?, 0, 0)',
      undef, $id, "\n\n--- Bug imported by admin\@example.org ---\n");
    $world->rows;
    return $id;
  };
  my $id = $import->('an old bug');
  closed(sub { $import->('SECRET'); drain_looks() });
  drain_looks();
  my @found = $world->recovered($marks);
  is_clean(\@found, 'while it was closed');
  is_deeply([map { $_->{bug}->{id} } grep { $_->{kind} eq 'bug.create' } @found], [$id], 'the bug');
  is(scalar(map { @{$_->{comments}} } grep { $_->{kind} eq 'bug.update' } @found), 2, 'and its comments');
};

subtest 'the end of a group leaves no doubt about other bugs' => sub {
  plan skip_all => 'real trees keep their groups' if BzWorld::is_real();
  Bugzilla::Group->insert_create_data({name => 'passing', isbuggroup => 1});
  my $open   = $world->create_bug;
  my $former = $world->create_bug(groups => ['passing']);
  $world->rows;
  my $marks = $world->tips;
  $world->next_second;
  $world->update_bug($former, short_desc => 'SECRET', priority => 'Low');
  $world->update_bug($former, short_desc => 'clean');
  $world->update_bug($open, priority => 'High');
  $world->next_second;
  Bugzilla::Group->new({name => 'passing'})->remove_from_db;
  my @views = public_of($world->drained);
  is_deeply([map { $_->{transition} } grep { $_->{bug}->{id} == $former } @views], ['published'], 'its bug is published');
  my @found = $world->recovered($marks);
  is_clean(\@found, 'what was done to it before');
  is_deeply([map { @{$_->{changes}} } grep { $_->{bug}->{id} == $open } @found],
    [{field_name => 'priority', removed => '---', added => 'High'}], 'that of other bugs is found');
  $world->dbh->do(q{DELETE FROM sourcepulse_private});
  is_deeply([map { $_->{bug}->{id} } $world->recovered($marks)], [], 'a deletion that was not recorded leaves everything in doubt');
  $world->dbh->do('DELETE FROM audit_log');
};

subtest 'what was hidden by group controls and renamed since' => sub {
  my $audit = 'INSERT INTO audit_log (user_id, class, object_id, field, removed, added, at_time) VALUES (1, ?, ?, ?, ?, ?, LOCALTIMESTAMP(0))';
  plan skip_all => 'the pages that do it are tried in a real tree by their own test' if BzWorld::is_real();
  foreach my $is_audited (1, 0) {
    Bugzilla::Product->create({name => "Zeus$is_audited"});
    my $product = Bugzilla::Product->new({name => "Zeus$is_audited"});
    Bugzilla::Component->insert_create_data({name => 'Part', product_id => $product->id, isactive => 1});
    my $bug = $world->create_bug(product => "Zeus$is_audited", component => 'Part');
    $world->rows;
    my $marks = $world->tips;
    $world->next_second;
    my ($group) = $world->dbh->selectrow_array(q{SELECT id FROM groups WHERE name = 'secretgroup'});
    $world->dbh->do('INSERT INTO group_control_map (product_id, group_id, membercontrol) VALUES (?, ?, 3)', undef, $product->id, $group);
    $product->make_group_mandatory(Bugzilla::Group->new($group));
    $world->next_second;
    $world->dbh->do('UPDATE products SET name = ? WHERE id = ?', undef, "SECRET$is_audited", $product->id);
    $world->dbh->do($audit, undef, 'Bugzilla::Product', $product->id, 'name', "Zeus$is_audited", "SECRET$is_audited") if $is_audited;
    my ($view) = $world->recovered($marks);
    is_clean([$view], 'where it was');
    is($view->{transition}, 'hidden', 'it is hidden');
    is_deeply($view->{old_place}, $is_audited ? ['Zeus1', ''] : ['', ''], 'under the name of then, or under none');
  }
  $world->dbh->do('DELETE FROM audit_log');
};

subtest 'a comment that only looks like an import' => sub {
  my $bug   = $world->create_bug;
  my $marks = $world->tips;
  closed(sub { $world->update_bug($bug, priority => 'High', comment => {body => 'SECRET words'}); drain_looks(); $world->next_second });
  drain_looks();
  $world->next_second;
  $world->update_bug($bug, comment => {body => "\n\n--- Bug imported by me"});
  $world->rows;
  my @found = $world->recovered($marks);
  is_clean(\@found, 'what was written while it was closed');
  is_deeply([map { @{$_->{changes} || []} } @found], [], 'and done');
};

subtest 'while the site is closed' => sub {
  my ($hidden, $deleted, $other) = map { $world->create_bug } 1 .. 3;
  my $private = $world->create_bug(@in_group);
  $world->rows;
  my $marks = $world->tips;
  $world->update_bug($other, priority => 'High');
  $world->rows;
  my (@live, $new);
  closed(sub {
    $new = $world->create_bug;
    $world->next_second;
    $world->update_bug($_, groups => {add => ['secretgroup']}) foreach $hidden, $new;
    $world->update_bug($private, groups => {remove => ['secretgroup']});
    $world->next_second;
    $world->update_bug($private, groups => {add => ['secretgroup']});
    $world->delete_bug($_) foreach $deleted;
    @live = $world->public;
    $world->new_request;
    require Bugzilla::Extension::SourcePulse::HistoryScan;
    my $page = Bugzilla::Extension::SourcePulse::HistoryScan::page($marks, 100);
    is_deeply([$page->{rows}, $page->{marks}], [[], $marks], 'what is behind the marks stays there');
  });
  is_deeply([map {"$_->{kind} $_->{id}"} @live], ["bug.update $hidden", "bug.delete $deleted"], 'what the public had and has no longer is written');
  drain_looks();
  ok((grep { $_->{kind} eq 'bug.update' && $_->{bug}->{id} == $other } $world->recovered($marks)), 'and found when it is open again');
};

subtest 'what is shown and hidden in one second while the site is closed' => sub {
  my $private = $world->create_bug(@in_group);
  my $bug     = $world->create_bug;
  my $group   = Bugzilla::Group->insert_create_data({name => 'goesgroup', isbuggroup => 1}) unless BzWorld::is_real();
  my $of_it   = $group ? $world->create_bug(groups => ['goesgroup']) : undef;
  $world->rows;
  my @live;
  closed(sub {
    $world->next_second;
    foreach my $id ($private, $bug) {
      $world->update_bug($id, groups => {remove => ['secretgroup']}) if $id == $private;
      $world->update_bug($id, groups => {add => ['secretgroup']});
    }
    if ($group) {
      Bugzilla::Group->new($group->id)->remove_from_db;
      $world->new_request;
      $world->update_bug($of_it, groups => {add => ['secretgroup']});
    }
    @live = $world->public;
  });
  is_deeply([map { $_->{id} } @live], [$bug], 'nothing is written of a bug that the public never saw');
  drain_looks();
  $world->next_second;
};

subtest 'two updates of one second are two in the history' => sub {
  my $bug  = $world->create_bug(short_desc => 'one', cf_text => 'first');
  my $file = $world->attach($bug, description => 'plain');
  $world->next_second;
  $world->rows;
  my $marks = $world->tips;
  $world->update_bug($bug, short_desc => $_, cf_text => "$_ text") foreach 'two', 'three';
  $world->update_attachment($file, description => $_) foreach 'red', 'green';
  my @found = $world->recovered($marks);
  my @bug = grep { $_->{kind} eq 'bug.update' } @found;
  is_deeply([map { change_of($_, 'summary') } @bug], [['one', 'two'], ['two', 'three']], 'of a bug');
  is_deeply([map { change_of($_, 'cf_text') } @bug], [['first', 'two text'], ['two text', 'three text']], 'no value is joined to another');
  is_deeply([map { change_of($_, 'summary') } grep { $_->{kind} eq 'attachment.update' } @found], [['plain', 'red'], ['red', 'green']],
    'of an attachment');
};

subtest 'a second in which a bug was shown is not parted' => sub {
  my $bug = $world->create_bug(@in_group, short_desc => 'one');
  $world->next_second;
  $world->rows;
  my $marks = $world->tips;
  $world->update_bug($bug, short_desc => 'SECRET 1');
  $world->update_bug($bug, short_desc => 'SECRET 2');
  $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'clean');
  my @found = grep { $_->{kind} eq 'bug.update' } $world->recovered($marks);
  is_clean(\@found, 'whatever of it is found');
  is_deeply([map { $_->{transition} } @found], ['published'], 'only that it was shown');
};

subtest 'a value that Bugzilla broke into lines is one' => sub {
  require Bugzilla::Extension::SourcePulse::HistoryUpdates;
  my $line = sub { my ($id, $name, $removed, $added) = @_; return {id => $id, name => $name, removed => $removed, added => $added, bug_when => '2026-01-02 03:04:05'} };
  my @url  = map { 'x' x 200 . $_ } 1 .. 3;
  my @parts = Bugzilla::Extension::SourcePulse::HistoryUpdates::updates_of(2_000_000_000,
    [$line->(1, 'see_also', '', $url[0]), $line->(2, 'see_also', '', ", $url[1]"), $line->(3, 'see_also', '', ", $url[2]")]);
  is(scalar @parts, 1, 'of three');
  @parts = Bugzilla::Extension::SourcePulse::HistoryUpdates::updates_of(2_000_000_000,
    [$line->(1, 'see_also', '', $url[0]), $line->(2, 'see_also', '', ", $url[1]"), $line->(3, 'see_also', $url[0], '')]);
  is_deeply([map { scalar @$_ } @parts], [2, 1], 'what comes behind it is another update');
};

subtest 'flags that went with their type from an attachment that was once hidden' => sub {
  my $bug = $world->create_bug;
  my $id  = $world->attach($bug);
  $world->update_attachment($id, is_private => 1);
  $world->update_attachment($id, is_private => 0);
  $world->rows;
  require Bugzilla::Extension::SourcePulse::HistoryRow;
  my %found = (visibility => Bugzilla::Extension::SourcePulse::Visibility->new, was => 1, is => 1, timestamp => '2026-01-02 03:04:05');
  my @flags = ({id => 1, name => 'review', type_id => 1, status => '+', setter_id => 1, requestee_id => undef, attach_id => $id});
  my $row = sub { Bugzilla::Extension::SourcePulse::HistoryRow::attachment_row('attachment.update', Bugzilla::Attachment->new($id), {%found, flags => \@flags, @_}) };
  ok($row->(part => 1)->{payload}->{views}->{public}, 'are published if the hook knew that it was public');
  is($row->(part => 0), undef, 'and not if it knew that it was not');
  is($row->(), undef, 'nor if that is unknown');
};

subtest 'a product that became private and was deleted' => sub {
  my @verdicts = $world->check(['component.created', {component => {id => 1, product_id => 2_000_000_000}}],
    ['component.deleted', {component => {id => 1, product_id => 2_000_000_000}}]);
  is_deeply([map { $_->{send} ? 1 : 0 } @verdicts], [0, 1], 'only that it went may be sent');
};

done_testing();
