# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# The administrators' page: what it shows, and that only its own form has buried rows tried again.

use 5.10.1;
use strict;
use warnings;

# Bugzilla ends the request that it refuses, which must not end the test; needed before Bugzilla is compiled.
BEGIN {
  no warnings 'once';
  *CORE::GLOBAL::exit = sub (;$) { die "the request ended\n" };
}

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use File::Temp qw(tempfile);
use Test::More;

my $world = BzWorld->new;
require Bugzilla::Extension::SourcePulse::Health;
require Bugzilla::Token;

# A real Bugzilla asks for confirmation, the fake one dies.
use constant REFUSED => qr/\A(?:the request ended|token_does_not_exist)\n/;

use constant REASON => '<b>it has & no views</b>';

# What the template gets, or why there was no page.
sub page {
  my ($method, %input) = @_;
  local $ENV{REQUEST_METHOD} = $method;
  Bugzilla->input_params({%input}) if BzWorld::is_real();
  %{Bugzilla->input_params} = %input;
  my %vars;
  # A real Bugzilla prints a page that asks for confirmation.
  my ($file) = tempfile(UNLINK => 1);
  open(my $saved, '>&', \*STDOUT) or die "no output: $!\n";
  open(STDOUT, '>&', $file) or die "no output: $!\n";
  my $is_shown = eval { Bugzilla::Extension::SourcePulse::Health::show_page(\%vars); 1 };
  my $error = $@;
  open(STDOUT, '>&', $saved) or die "no output: $!\n";
  return $is_shown ? $vars{sourcepulse} : {refused => $error};
}

sub ids { return [map { $_->{id} } @{$_[0]}]; }

# Three rows, all of them buried but the last.
my @bugs = map { $world->create_bug } 1 .. 3;
my @ids = map { $_->{id} } @{Bugzilla::Extension::SourcePulse::WaitingRows::list_rows(0, 10)};
Bugzilla::Extension::SourcePulse::WaitingRows::bury_row($_, REASON) foreach @ids[0, 1];

subtest 'what it shows' => sub {
  my $page = page('GET');
  is_deeply([@$page{qw(depth buried missed active retried)}], [1, 2, 0, 1, undef], 'the figures');
  is_deeply(ids($page->{waiting}), [$ids[2]], 'the row that waits');
  my ($waiting) = @{$page->{waiting}};
  is_deeply([@$waiting{qw(kind bug_id reason)}], ['bug.create', $bugs[2], undef], 'with kind and bug');
  like($waiting->{created_ts}, qr/\A[0-9]{4}-[0-9]{2}-[0-9]{2}/, 'and time');
  ok(!exists $waiting->{payload}, 'without what it holds');
  is_deeply([sort keys %$page], [qw(active buried buried_rows depth last_missed missed oldest_s problems restricted retried
        silent_since site_id token waiting)], 'and nothing else');
  is_deeply(ids($page->{buried_rows}), [@ids[0, 1]], 'the buried rows');
  is($page->{buried_rows}->[0]->{reason}, REASON, 'with their reason');
  is_deeply([map { $_->{problem} } @{$page->{problems}}], ['buried'], 'the problem');
};

subtest 'nothing is tried again without the token' => sub {
  my $token = page('GET')->{token};
  is_deeply([@{page('GET', action => 'retry', row => 'all', token => $token)}{qw(buried retried)}], [2, undef], 'by a link');
  like(page('POST', action => 'retry', row => 'all')->{refused}, REFUSED, 'without a token');
  $world->new_request;
  like(page('POST', action => 'retry', row => 'all', token => 'abcdefghij')->{refused}, REFUSED, 'with a wrong one');
  $world->new_request;
  my $other = Bugzilla::Token::issue_session_token('another page');
  like(page('POST', action => 'retry', row => 'all', token => $other)->{refused}, REFUSED, 'with that of another page');
  $world->new_request;
  is(page('GET')->{buried}, 2, 'all are still buried');
};

subtest 'a row that is not known' => sub {
  foreach my $row ('', '0', '-1', 'ALL', "$ids[0] OR 1=1", '999999999999') {
    my $page = page('POST', action => 'retry', row => $row, token => page('GET')->{token});
    is_deeply([@$page{qw(retried buried)}], [0, 2], "'$row' is not a wish for all of them");
  }
  my $page = page('POST', action => 'retry', row => $ids[2], token => page('GET')->{token});
  is_deeply([@$page{qw(retried depth)}], [0, 1], 'one that is not buried');
};

subtest 'one row, then all' => sub {
  my $token = page('GET')->{token};
  my $page = page('POST', action => 'retry', row => $ids[1], token => $token);
  is($page->{retried}, 1, 'one is tried again');
  is_deeply(ids($page->{buried_rows}), [$ids[0]], 'the other is not');
  is_deeply(ids($page->{waiting}), [@ids[1, 2]], 'it waits');
  like(page('POST', action => 'retry', row => 'all', token => $token)->{refused}, REFUSED, 'a token counts once');
  $world->new_request;
  $page = page('POST', action => 'retry', row => 'all', token => page('GET')->{token});
  is_deeply([@$page{qw(retried buried depth)}], [1, 0, 3], 'all of them');
  is_deeply($page->{problems}, [], 'no problem is left');
};

subtest 'each problem' => sub {
  my $table = BzWorld::TABLE();
  Bugzilla->dbh->do("UPDATE $table SET created_ts = '2020-01-02 03:04:05'");
  open(my $missed, '>', Bugzilla::Extension::SourcePulse::MissedChanges::missed_path()) or die "no file: $!\n";
  print {$missed} time . " bug.update 7 <i>\n";
  close($missed);
  my $page = page('GET');
  is_deeply([map { $_->{problem} } @{$page->{problems}}], [qw(overdue missed silent)],
    'rows that wait, a change without one, and comments after the last');
  is($page->{problems}->[2]->{since}, '2020-01-02 03:04:05', 'silent since then');
  like($page->{last_missed}, qr/bug\.update 7 <i>/, 'the last change without a row');
  unlink(Bugzilla::Extension::SourcePulse::MissedChanges::missed_path());
};

subtest 'for administrators only' => sub {
  my ($bob) = Bugzilla->dbh->selectrow_array(q{SELECT userid FROM profiles WHERE login_name LIKE 'bob@%'});
  foreach my $user (Bugzilla::User->new($bob), Bugzilla::User->new) {
    Bugzilla->set_user($user);
    ok(page('GET')->{refused}, 'it is refused');
  }
  $world->new_request;
};

$world->rows;
done_testing();
