# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# A row is there exactly when its change is, and the sidecar hears of it only then.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use Test::More;

my $world = BzWorld->new;
$world->listen_for_nudges;
my $dbh = $world->dbh;
my $bug = $world->create_bug;
$world->rows;
$world->nudges;

sub depth { return $world->dbh->{private_bz_transaction_count} || 0; }

# What is left after a request that did not go well.
sub left_after {
  my ($work) = @_;
  eval { $work->(); 1 };
  $world->new_request;
  return [scalar $world->rows, $world->nudges];
}

is_deeply(left_after(sub { $world->update_bug($bug, priority => 'High') }), [1, 1], 'an update makes a row and a nudge');

is_deeply(left_after(sub { $world->dbh->bz_start_transaction; $world->create_bug }), [0, 0],
  'a new bug in a transaction that is not committed makes neither');

is_deeply(left_after(sub {
  $world->dbh->bz_start_transaction;
  $world->update_bug($bug, priority => 'Low');
  $world->dbh->bz_rollback_transaction;
}), [0, 0], 'an update that is rolled back outside makes neither');

is_deeply(left_after(sub {
  $world->dbh->bz_start_transaction;
  $world->update_bug($bug, priority => 'Low');
  Bugzilla::Error::ThrowUserError('object_does_not_exist', {});
}), [0, 0], 'an update before an error that is shown to the user makes neither');

foreach my $hook (qw(bug_end_of_create bug_end_of_update)) {
  is_deeply(left_after(sub {
    my $died = $world->dying_in($hook, sub { $hook =~ /create/ ? $world->create_bug : $world->update_bug($bug, priority => 'Low') });
    like($died, qr/another extension died/, "an extension dies in $hook");
  }), [0, 0], "what an extension after this one undoes in $hook makes neither");
}

is_deeply(left_after(sub { $world->dying_in('object_end_of_create', sub { $world->attach($bug) }) }), [0, 0],
  'an attachment that another extension refuses makes neither');
is_deeply(left_after(sub { $world->dying_in('object_before_delete', sub { $world->delete_bug($bug) }) }), [0, 0],
  'a deletion that another extension refuses makes neither');
ok($world->dbh->selectrow_array('SELECT 1 FROM bugs WHERE bug_id = ?', undef, $bug), 'and the bug is there');

# post_bug.cgi catches what the attachment dies of, and goes on.
$world->dying_in('object_end_of_create', sub { $world->attach($bug) });
is(depth(), 0, 'no transaction is left open behind an attachment that died');
is(Bugzilla::Extension::SourcePulse::Database::handle()->{AutoCommit} ? 1 : 0, 1, 'nor does the database have one');
$world->dbh->bz_start_transaction;
$world->dying_in('object_end_of_create', sub { $world->attach($bug) });
is(depth(), 1, 'the transaction around it is as deep as before');
$world->update_bug($bug, priority => 'Normal');
$world->dbh->bz_commit_transaction;
is_deeply([map { $_->{kind} } $world->rows], ['bug.update'], 'and what is done in it afterwards makes its row');
$world->nudges;

# The next bug has the number of the one that was rolled back where a database assigns numbers again.
$world->dbh->bz_start_transaction;
my $lost = $world->create_bug;
$world->new_request;
my $kept = $world->create_bug;
my @rows = $world->rows;
is_deeply([map { $_->{bug_id} } @rows], [$kept], 'only the bug that is there has a row');
$world->nudges;

# Visible with the change, not before.
is($world->rows_elsewhere, 0, 'another connection sees no row');
$world->dbh->bz_start_transaction;
$world->dbh->bz_start_transaction;
$world->update_bug($bug, priority => 'High');
$world->dbh->bz_commit_transaction;
is($world->nudges, 0, 'no nudge before the outermost commit');
is($world->rows_elsewhere, 0, 'no row before the outermost commit');
$world->update_bug($kept, priority => 'High');
$world->dbh->bz_commit_transaction;
is($world->nudges, 1, 'one nudge for the whole transaction');
is($world->rows_elsewhere, 2, 'and both rows at once');
my ($first, $second) = $world->rows;
my $transaction = $first->{payload}->{transaction};
like($transaction, qr/\A[0-9a-f]{32}\z/, 'the first row of a transaction names it');
is($second->{payload}->{transaction}, $transaction, 'the others name it as well');

$world->update_bug($kept, priority => 'Low');
my ($alone) = $world->rows;
isnt($alone->{payload}->{transaction}, $transaction, 'the next transaction is another one');
$world->nudges;

$world->dbh->bz_start_transaction;
$world->dbh->bz_commit_transaction;
$world->update_bug($bug);
is($world->nudges, 0, 'nothing to publish, no nudge');

$world->params(sourcepulse_enabled => 0);
$world->update_bug($bug, priority => 'Lowest');
$world->create_bug;
$world->attach($bug);
is_deeply([scalar $world->rows, $world->nudges], [0, 0], 'nothing at all while it is off');
$world->params(sourcepulse_enabled => 1);

done_testing();
