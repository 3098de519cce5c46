# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# drain.pl as the sidecar runs it: a process of its own, lines of JSON.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use IPC::Open3 qw(open3);
use JSON::XS ();
use POSIX ();
use Test::More;

use constant ANSWER_SECONDS => 30;

my $world = BzWorld->new;
my $json  = JSON::XS->new->canonical->ascii;
my $TABLE = BzWorld::TABLE();
local $SIG{ALRM} = sub { die "drain.pl does not answer\n" };

sub start {
  my (@arguments) = @_;
  my $errors = $world->data . '/drain.stderr';
  open(my $error_log, '>', $errors) or die "$errors: $!\n";
  my $pid = open3(my $in, my $out, '>&' . fileno($error_log), $^X, BzWorld::extension_folder() . '/bin/drain.pl',
    @arguments ? @arguments : $world->home);
  return {pid => $pid, in => $in, out => $out, errors => $errors};
}

sub ask {
  my ($child, $request) = @_;
  my $line = ref $request ? $json->encode($request) : $request;
  local $SIG{PIPE} = 'IGNORE';
  print {$child->{in}} "$line\n";
  $child->{in}->flush;
  alarm(ANSWER_SECONDS);
  my $answer = readline($child->{out});
  alarm(0);
  return defined $answer ? eval { $json->decode($answer) } || {line => $answer} : undef;
}

sub stop {
  my ($child) = @_;
  close($child->{in});
  alarm(ANSWER_SECONDS);
  waitpid($child->{pid}, 0);
  alarm(0);
  my $code = $? >> 8;
  open(my $file, '<', $child->{errors}) or return ($code, '');
  local $/;
  return ($code, scalar <$file>);
}

my $bug = $world->create_bug;
$world->rows;

my $child = start();

subtest 'hello' => sub {
  my $answer = ask($child, {do => 'hello'});
  ok($answer->{ok}, 'ok');
  is($answer->{protocol}, 2, 'its version');
  like($answer->{secret}, qr/\A[0-9a-f]{32,}\z/, 'what makes its ids unguessable');
  is($answer->{site}, Bugzilla->params->{sourcepulse_site_id}, 'the name of the site');
  is($answer->{socket}, $world->data . '/sourcepulse.sock', 'where to listen');
};

subtest 'requests that make no sense' => sub {
  foreach my $request ('nonsense', '[]', '{}', '{"do": "dance"}', '{"do": "next"', "\xff", '{"do": {"a": 1}}') {
    my $answer = ask($child, $request);
    is($answer->{code}, 'request', $request);
  }
  is(ask($child, {do => 'next', count => 5})->{code}, 'request', 'rows without the lock');
  is(ask($child, {do => 'check', events => 7})->{code}, 'request', 'a list that is none');
  is(ask($child, {do => 'check', events => [7]})->{code}, 'request', 'an event that is none');
  is(ask($child, {do => 'check', events => [{type => [], data => {}}]})->{code}, 'request', 'a type that is none');
};

subtest 'the lock' => sub {
  ok(ask($child, {do => 'lock'})->{ok}, 'is taken');
  ok(ask($child, {do => 'lock'})->{ok}, 'and kept');
  my $other = start();
  is(ask($other, {do => 'lock'})->{code}, 'locked', 'one drainer at a time');
  ok(ask($other, {do => 'check', events => []})->{ok}, 'the other may ask what is public');
  stop($other);
};

subtest 'rows' => sub {
  is_deeply(ask($child, {do => 'next', count => 10})->{rows}, [], 'none yet');
  $world->update_bug($bug, priority => 'High');
  $world->update_bug($bug, comment => {body => "\x{1F4A9}"});
  my $answer = ask($child, {do => 'next', count => 10});
  is($answer->{depth}, 2, 'depth');
  my ($first, $second) = @{$answer->{rows}};
  is_deeply([@$first{qw(kind bug_id)}], ['bug.update', $bug], 'the oldest first');
  ok($first->{id} < $second->{id}, 'in order');
  my ($stored) = $world->dbh->selectrow_array('SELECT thetext FROM longdescs WHERE comment_id = ?', undef, $world->last_comment($bug));
  is($json->decode($second->{payload})->{views}->{public}->{comments}->[0]->{text}, $stored, 'as they were written');
  is_deeply([map { $_->{id} } @{ask($child, {do => 'next', count => 1})->{rows}}], [$first->{id}], 'again until they are acknowledged');
  is(ask($child, {do => 'ack', ids => [$first->{id}]})->{deleted}, 1, 'acknowledged');
  is(ask($child, {do => 'ack', ids => [$first->{id}]})->{deleted}, 0, 'once');
  is(ask($child, {do => 'ack', ids => []})->{deleted}, 0, 'nothing');
  ok(ask($child, {do => 'bury', id => $second->{id}, reason => "x\x{1F4A9}" x 300})->{ok}, 'set aside');
  is_deeply(ask($child, {do => 'next', count => 10})->{rows}, [], 'no longer returned');
  my $stats = ask($child, {do => 'stats'});
  is_deeply([@$stats{qw(depth buried missed)}], [0, 1, 0], 'counted');
  is(ask($child, {do => 'retry'})->{rows}, 1, 'tried again');
  is_deeply([map { $_->{id} } @{ask($child, {do => 'next', count => 10})->{rows}}], [$second->{id}], 'and returned');
  ask($child, {do => 'ack', ids => [$second->{id}]});
};

subtest 'a row that is damaged' => sub {
  foreach my $payload ('', '{', '{"thin": ', 'null', '{"v": 1, "thin": "x"}') {
    $world->dbh->do("INSERT INTO $TABLE (created_ts, kind, bug_id, is_public, payload) VALUES ('2026-01-02 03:04:05', 'bug.update', 1, 0, ?)",
      undef, $payload);
  }
  my $answer = ask($child, {do => 'next', count => 10});
  is(scalar @{$answer->{rows}}, 5, 'does not hold up the others');
  is($answer->{rows}->[0]->{payload}, '', 'it is returned as it is');
  ask($child, {do => 'ack', ids => [map { $_->{id} } @{$answer->{rows}}]});
};

# The verdicts on events with hardly any data: the bug, or the part of it.
sub verdicts {
  my (@events) = @_;
  my $answer = ask($child, {do => 'check', events => [map { {type => "bugzilla.$_->[0].v1", data => $_->[1]} } @events]});
  return map { [$_->{send} ? 'send' : 'withhold', $_->{bug}] } @{$answer->{verdicts}};
}

subtest 'what may be sent' => sub {
  my $secret = $world->create_bug(groups => ['secretgroup']);
  my $id = $world->attach($bug, isprivate => 1);
  my $comment = $world->last_comment($bug);
  my @events = map { ['flag.granted', {bug_id => $_, attachment_id => undef}] } $bug, $secret, 2_000_000_000;
  push(@events, ['comment.hidden', {id => $comment, bug_id => $bug}], ['flag.granted', {bug_id => $bug, attachment_id => $id}],
    ['attachment.hidden', {id => $id, bug_id => $secret}], ['bug.hidden', {id => $secret}], ['bug.deleted', {id => $bug}],
    ['bug.deleted', {id => 2_000_000_000}], ['user.created', {id => 1}], ['flag.granted', {bug_id => $bug, attachment_id => undef, more => 1}]);
  is_deeply([verdicts(@events)],
    [['send', undef], ['withhold', undef], ['withhold', undef], ['send', undef], ['withhold', $bug], ['withhold', undef], ['send', undef],
      ['withhold', undef], ['send', undef], ['withhold', undef], ['withhold', $bug]], 'a verdict on each');
  $world->update_bug($bug, groups => {add => ['secretgroup']});
  is_deeply([verdicts($events[0])], [['withhold', undef]], 'at the moment of the question');
  $world->update_bug($bug, groups => {remove => ['secretgroup']});
  $world->params(requirelogin => 1);
  is(ask($child, {do => 'check', events => []})->{code}, 'closed', 'parameters are read again: nothing is judged where one must log in');
  $world->params(requirelogin => 0);
  ask($child, {do => 'hello'});
  $world->rows;
  # What was done in the second in which the site opened may have been done before.
  $world->next_second;
};

subtest 'thin rows while one must log in' => sub {
  my $thin = '{"v":1,"at":1,"activity":null,"was":%s,"is":%s,"thin":"x"}';
  foreach my $payload (sprintf($thin, 'true', 'true'), sprintf($thin, 'false', 'false')) {
    $world->dbh->do("INSERT INTO $TABLE (created_ts, kind, bug_id, is_public, payload) VALUES ('2026-01-02 03:04:05', 'bug.update', $bug, 0, ?)",
      undef, $payload);
  }
  $world->params(requirelogin => 1);
  my $answer = ask($child, {do => 'next', count => 10});
  is_deeply([scalar @{$answer->{rows}}, $answer->{depth}], [1, 1], 'those of what was public wait');
  $world->params(requirelogin => 0);
  $answer = ask($child, {do => 'next', count => 10});
  is_deeply([scalar @{$answer->{rows}}, $answer->{depth}], [2, 2], 'until it is open again');
  $world->rows;
  $world->next_second;
};

subtest 'what only the history knows' => sub {
  my $marks = ask($child, {do => 'tips'})->{marks};
  is_deeply(ask($child, {do => 'recover', marks => $marks, count => 10})->{rows}, [], 'nothing behind the end');
  my $other = $world->create_bug;
  $world->update_bug($bug, dependson => {add => [$other]});
  $world->rows;
  my @rows;
  for (my $more = 1; $more;) {
    my $answer = ask($child, {do => 'recover', marks => $marks, count => 1});
    push(@rows, @{$answer->{rows}});
    ($marks, $more) = @$answer{qw(marks more)};
    last if @rows > 100;
  }
  my @blocks = grep { ($_->{changes}[0]{field_name} || '') eq 'blocks' }
    map { $json->decode($_->{payload})->{views}->{public} || () } grep { $_->{bug_id} == $other } @rows;
  is_deeply($blocks[0]->{changes}->[0]->{added}, [$bug], 'the other side of a dependency');
  ok((grep { $_->{kind} eq 'bug.create' && $_->{bug_id} == $other } @rows), 'a bug whose row is not there');
  my $secret = $world->create_bug(groups => ['secretgroup']);
  $world->rows;
  my $answer = ask($child, {do => 'recover', marks => $marks, count => 100});
  ok(!(grep { $_->{bug_id} == $secret && $json->decode($_->{payload})->{views}->{public} } @{$answer->{rows}}), 'nothing public of what is private');
};

subtest 'a group that is deleted' => sub {
  plan skip_all => 'real trees keep their groups' if BzWorld::is_real();
  my $hidden = $world->create_bug(groups => ['othergroup'], short_desc => 'SECRET');
  my $twice  = $world->create_bug(groups => ['othergroup', 'secretgroup']);
  $world->rows;
  Bugzilla::Group->new({name => 'othergroup'})->remove_from_db;
  my $rows = ask($child, {do => 'next', count => 10})->{rows};
  my %view = map { $_->{bug_id} => $json->decode($_->{payload})->{views}->{public} } @$rows;
  is($view{$hidden}->{transition}, 'published', 'publishes the bugs that were in it alone');
  is_deeply($view{$hidden}->{changes}, [], 'without what they were');
  ok(!$view{$twice}, 'and no others');
  $world->rows;
};

subtest 'the table goes away and comes back' => sub {
  $world->dbh->do("ALTER TABLE $TABLE RENAME TO sourcepulse_away");
  is(ask($child, {do => 'next', count => 1})->{code}, 'database', 'an answer with the reason');
  $world->dbh->do("ALTER TABLE sourcepulse_away RENAME TO $TABLE");
  ok(ask($child, {do => 'next', count => 1})->{ok}, 'the same process goes on');
};

subtest 'maintenance' => sub {
  $world->params(shutdownhtml => 'closed for <b>repairs</b>');
  is(ask($child, {do => 'next', count => 1})->{code}, 'paused', 'while it runs');
  my $late = start();
  my $answer = ask($late, {do => 'hello'});
  is($answer->{code}, 'paused', 'a process that begins then answers so');
  my ($code) = stop($late);
  is($code, 0, 'and ends well');
  $world->params(shutdownhtml => '');
  ok(ask($child, {do => 'hello'})->{ok}, 'afterwards it goes on');
};

subtest 'the end' => sub {
  my ($code, $errors) = stop($child);
  is($code, 0, 'it ends with its input');
  unlike($errors, qr/Bad|uninit|Use of/, 'without a warning of Perl') or diag($errors);
};

subtest 'wrong folders and a wrong Perl' => sub {
  my ($code, $errors) = stop(start('/nonexistent'));
  is($code, 2, 'no folder');
  like($errors, qr/is not the folder of a Bugzilla/, 'the error names the reason');
  ($code, $errors) = stop(start($world->data));
  is($code, 2, 'a folder without Bugzilla');
  ($code, $errors) = stop(start('--help'));
  is($code, 2, 'an option');
  like($errors, qr/usage: drain\.pl BUGZILLA_FOLDER/, 'how it is called');
  local $ENV{PERL5OPT} = '-M-lib=' . join(',', grep { -e "$_/DBI.pm" } @INC);
  ($code, $errors) = stop(start());
  is($code, 3, 'a Perl without the modules of Bugzilla');
  like($errors, qr/sure that this is the Perl that runs Bugzilla/, 'what to do');
};

done_testing();
