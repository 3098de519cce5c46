# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# A comment that was made private is found in the history under the conditions of the hook: the parameter, and that it was public.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use Test::More;

my $world = BzWorld->new;

# The comments that WORK hides, as the hook publishes them and as recovery finds them.
sub hidden_by {
  my ($work) = @_;
  $world->rows;
  $world->new_request;
  $world->next_second;
  my $marks = $world->tips;
  $work->();
  return map { [map { @{$_->{comments_hidden} || []} } @$_] } [$world->public], [$world->recovered($marks)];
}

foreach my $is_published (1, 0) {
  $world->params(sourcepulse_tell_hidden => $is_published);
  my $bug = $world->create_bug(short_desc => 'open');
  $world->update_bug($bug, comment => {body => 'soon private'});
  my $id = $world->last_comment($bug);
  my ($live, $found) = hidden_by(sub { $world->update_bug($bug, comment_is_private => {$id => 1}) });
  is_deeply($live, [$is_published ? $id : ()], "sourcepulse_tell_hidden = $is_published: the hook");
  is_deeply($found, $live, "sourcepulse_tell_hidden = $is_published: recovery");
}

$world->params(sourcepulse_tell_hidden => 1);
my $bug  = $world->create_bug(short_desc => 'open');
my $file = $world->attach($bug, isprivate => 1);
$world->update_bug($bug, comment => {body => 'about the file'});
my $about = $world->last_comment($bug);
$world->dbh->do('UPDATE longdescs SET type = 5, extra_data = ? WHERE comment_id = ?', undef, $file, $about);
my ($live, $found) = hidden_by(sub { $world->update_bug($bug, comment_is_private => {$about => 1}) });
is_deeply($live,  [], 'a comment about a private attachment was never public: the hook');
is_deeply($found, [], 'a comment about a private attachment was never public: recovery');

done_testing();
