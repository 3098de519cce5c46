# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# The order of hooks and the depth of transactions that the extension stands on, the same in the fake and in real trees. Where
# Bugzilla opens no transaction of its own, the depth is ours.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use Test::More;

my $world = BzWorld->new;
my ($bug, $other, $attachment);

is_deeply($world->trace(sub { $bug = $world->create_bug }), [
  'object_end_of_create(Bug) 1', 'object_end_of_create(Comment) 1', 'bug_end_of_create(Bug) 1',
], 'a new bug');

is_deeply($world->trace(sub { $world->update_bug($bug, priority => 'High', comment => {body => 'x'}) }), [
  'object_end_of_update(Bug) 2', 'bug_start_of_update(Bug) 1', 'object_end_of_create(Comment) 1', 'flag_end_of_update(Bug) 1',
  'bug_end_of_update(Bug) 1',
], 'a change with a comment');

is_deeply($world->trace(sub { $world->update_bug($bug) }), [
  'object_end_of_update(Bug) 2', 'bug_start_of_update(Bug) 1', 'flag_end_of_update(Bug) 1', 'bug_end_of_update(Bug) 1',
], 'an update of nothing');

is_deeply($world->trace(sub { $world->update_bug($bug, comment_is_private => {$world->last_comment($bug) => 1}) }), [
  'object_end_of_update(Bug) 2', 'bug_start_of_update(Bug) 1', 'object_end_of_update(Comment) 2', 'flag_end_of_update(Bug) 1',
  'bug_end_of_update(Bug) 1',
], 'a comment is hidden');

is_deeply($world->trace(sub { $attachment = $world->attach($bug) }), ['object_end_of_create(Attachment) 1'],
  'a new attachment is made inside our transaction');

is_deeply($world->trace(sub { $world->update_attachment($attachment, is_obsolete => 1) }), [
  'object_end_of_update(Attachment) 2', 'flag_end_of_update(Attachment) 1',
], 'an attachment is changed inside our transaction');

$other = $world->create_bug;
is_deeply($world->trace(sub { $world->update_bug($other, dup_id => $bug) }), [
  'object_end_of_update(Bug) 2', 'bug_start_of_update(Bug) 1', 'object_end_of_create(Comment) 1', 'flag_end_of_update(Bug) 1',
  'object_end_of_update(Bug) 3', 'bug_start_of_update(Bug) 2', 'object_end_of_create(Comment) 2', 'flag_end_of_update(Bug) 2',
  'bug_end_of_update(Bug) 2', 'bug_end_of_update(Bug) 1',
], 'the other bug of a duplicate is updated inside');

is_deeply($world->trace(sub { $world->update_bug($other, dependson => {add => [$bug]}) }), [
  'object_end_of_update(Bug) 2', 'bug_start_of_update(Bug) 1', 'flag_end_of_update(Bug) 1', 'bug_end_of_update(Bug) 1',
], 'the other bug of a dependency has no hook');

is_deeply($world->trace(sub { $world->delete_bug($other) }), ['object_before_delete(Bug) 1'],
  'a bug is deleted inside our transaction');

done_testing();
