# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# A comment, or an attachment, whose privacy changes more than once in one second: the hooks publish each change, what is
# found later only how it is.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use JSON::XS ();
use Test::More;

my $world = BzWorld->new;
my ($HIDE, $SHOW) = (1, 0);

# A bug with one more comment, and a second of its own.
sub bug_with_comment {
  my ($is_private) = @_;
  my $bug = $world->create_bug;
  $world->update_bug($bug, comment => {body => 'words', is_private => $is_private});
  $world->rows;
  $world->new_request;
  $world->next_second;
  return ($bug, $world->last_comment($bug));
}

# The privacy of comments in views, in their order.
sub words {
  return map { ((map {"hidden $_"} @{$_->{comments_hidden} || []}), (map {"published $_->{id}"} @{$_->{comments_published} || []})) } @_;
}

# The rows of WORK can only be written thin.
sub thin_while {
  my ($work) = @_;
  no strict 'refs';
  no warnings 'redefine';
  local *{BzWorld::collector('bug_updated')} = sub { die "no facts\n" };
  return $work->();
}

sub public_of { return grep {$_} map { $_->{payload}->{views}->{public} } @_; }

foreach my $case (
  ['hidden and shown',            0, [$HIDE, $SHOW],        ['hidden', 'published'],           ['published']],
  ['shown and hidden',            1, [$SHOW, $HIDE],        ['published', 'hidden'],           ['hidden']],
  ['hidden, shown and hidden',    0, [$HIDE, $SHOW, $HIDE], ['hidden', 'published', 'hidden'], ['hidden', 'hidden']],
  ['shown, hidden and shown',     1, [$SHOW, $HIDE, $SHOW], ['published', 'hidden', 'published'], ['published', 'published']],
  )
{
  my ($name, $is_private, $toggles, $live, $later) = @$case;
  subtest "$name in one second" => sub {
    my ($bug, $id) = bug_with_comment($is_private);
    my $marks = $world->tips;
    $world->update_bug($bug, comment_is_private => {$id => $_}) foreach @$toggles;
    my $is_hidden = $toggles->[-1] == $HIDE;
    my @views     = $world->public;
    is_deeply([words(@views)], [map {"$_ $id"} @$live], 'each hook saw its own change');
    is_deeply([words($world->recovered($marks))], [map {"$_ $id"} @$later], 'the history only what is still so');
    my @events = grep { $_->[0] =~ /\Acomment/ } map { $world->events_of($_) } @views;
    my @sent   = $world->check(@events);
    foreach my $place (0 .. $#events) {
      my $is_text = $events[$place]->[0] eq 'comment.published';
      is($sent[$place]->{send} ? 1 : 0, $is_text && $is_hidden ? 0 : 1, "the check of $events[$place]->[0]");
      is($sent[$place]->{bug}, $bug, 'what is withheld names the bug') if $is_text && $is_hidden;
    }
    ($bug, $id) = bug_with_comment($is_private);
    thin_while(sub { $world->update_bug($bug, comment_is_private => {$id => $_}) foreach @$toggles });
    is_deeply([words(public_of($world->drained))], [map {"$_ $id"} @$later], 'and so with rows that are filled later');
  };
}

subtest 'in a second in which the bug was shown, which is not parted' => sub {
  my $bug = $world->create_bug(groups => ['secretgroup']);
  $world->update_bug($bug, comment => {body => 'words'});
  my $id = $world->last_comment($bug);
  $world->rows;
  $world->new_request;
  $world->next_second;
  my $marks = $world->tips;
  $world->update_bug($bug, groups => {remove => ['secretgroup']});
  $world->update_bug($bug, comment_is_private => {$id => $_}) foreach $HIDE, $SHOW, $HIDE;
  is_deeply([words($world->public)], [map {"$_ $id"} qw(hidden published hidden)], 'each hook saw its own change');
  my @found = $world->recovered($marks);
  is_deeply([words(@found)], [], 'the history publishes nothing of the comment');
  is_deeply([map { $_->{transition} || () } @found], ['published'], 'only that the bug was shown');
};

subtest 'by one object that is updated twice' => sub {
  my ($bug, $id) = bug_with_comment(1);
  my $object = Bugzilla::Bug->new($bug);
  foreach my $is_private ($SHOW, $HIDE) {
    $object->set_comment_is_private({$id => $is_private});
    $object->update;
  }
  is_deeply([words($world->public)], ["published $id", "hidden $id"], 'what the first update did is not in the row of the second');
};

foreach my $case (
  ['hidden and shown',         0, [$HIDE, $SHOW],        ['published']],
  ['shown and hidden',         1, [$SHOW, $HIDE],        []],
  ['hidden, shown and hidden', 0, [$HIDE, $SHOW, $HIDE], ['hidden']],
  )
{
  my ($name, $is_private, $toggles, $wanted) = @$case;
  subtest "an attachment that was $name" => sub {
    my $bug  = $world->create_bug;
    my $file = $world->attach($bug, isprivate => $is_private);
    $world->rows;
    $world->new_request;
    $world->next_second;
    my $marks = $world->tips;
    foreach my $place (0 .. $#$toggles) {
      my $is_last = $place == $#$toggles;
      $world->update_attachment($file, is_private => $toggles->[$place], description => $is_last ? 'clean' : "SECRET $place");
    }
    $world->rows;
    my @found = grep { $_->{kind} eq 'attachment.update' } $world->recovered($marks);
    is_deeply([map { $_->{transition} || 'changed' } @found], $wanted, 'the history publishes the present state');
    unlike(JSON::XS->new->canonical->encode(\@found), qr/SECRET/, 'and not what it was meanwhile');
  };
}

done_testing();
