# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Event;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Changes
  qw(attachment_changes bug_changes);
use Bugzilla::Extension::SourcePulse::Database qw(handle);
use Bugzilla::Extension::SourcePulse::Facts    qw(
  attachment_fact bug_fact comment_fact flag_rows flags_done people_of_bug
  people_of_flags read_more
);
use Bugzilla::Extension::SourcePulse::Logins  qw();
use Bugzilla::Extension::SourcePulse::Periods qw(was_shown_before_closing);
use Bugzilla::Extension::SourcePulse::Values  qw(number text time_text truth);
use Bugzilla::Extension::SourcePulse::View    qw(row thin_row);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

sub bug_created {
  my ($bug, $timestamp) = @_;
  my $more       = read_more($bug->id);
  my $flags      = $more->{flags} = flag_rows(@{$bug->flags});
  my $visibility = _visibility($bug->id, $more);
  return row({
    kind       => 'bug.create',
    bug_id     => $bug->id,
    timestamp  => $timestamp,
    visibility => $visibility,
    was        => 0,
    is         => $visibility->is_public_bug($bug->id),
    full       => sub {
      my $logins = _logins($bug, $more, [], []);
      my $count  = 0;
      return {
        place    => $more->{place},
        who      => $logins->person($bug->{reporter_id}),
        bug      => bug_fact($logins, $bug, $more, $timestamp),
        comments =>
          [map { comment_fact($logins, $_, $count++) } @{_comments_of($bug->id)}],
        flags =>
          flags_done($logins, [map { {row => $_, status => $_->{status}} } @$flags]),
      };
    },
  });
}

# DONE: who (an id), was_open, flags (as Flags::between() returns them),
# comments (new ones), and those hidden or published.
sub bug_updated {
  my ($bug, $old_bug, $changes, $more, $timestamp, $done) = @_;
  $more->{flags} = $done->{flags}->{after};
  my $visibility = _visibility($bug->id, $more);
  return row({
    kind       => 'bug.update',
    bug_id     => $bug->id,
    timestamp  => $timestamp,
    activity   => $more->{activity},
    visibility => $visibility,
    was        => $visibility->was_public_bug($old_bug),
    is         => $visibility->is_public_bug($bug->id),
    _while_closed($bug, @{$old_bug->groups_in}),
    is_in_group => $more->{is_in_group},
    full        => sub {
      my $logins = _logins(
        $bug, $more,
        $done->{flags}->{before},
        [$done->{who}, @$old_bug{qw(assigned_to qa_contact)}], $old_bug
      );

      # The new comments are the last ones.
      my $count = $more->{comments} - @{$done->{comments}};
      return {
        place     => $more->{place},
        old_place => _old_place($changes, $more->{place}),
        was_open  => truth($done->{was_open}),
        bug       => bug_fact($logins, $bug, $more, $timestamp),
        comments  => [map { comment_fact($logins, $_, $count++) } @{$done->{comments}}],
        who       => $logins->person($done->{who}),
        changes   => bug_changes($logins, $bug, $old_bug, $changes, $done->{flags}),
        flags     => flags_done($logins, $done->{flags}->{done}),
        comments_toggled => [
          map { {
            comment   => comment_fact($logins, $_),
            is_hidden => $_->{isprivate} ? 1 : 0,
            part_was  => 1
          } } @{$done->{toggled}}
        ],
      };
    },
  });
}

sub bug_deleted {
  my ($bug, $timestamp) = @_;
  my $more       = read_more($bug->id);
  my $visibility = _visibility($bug->id, $more);
  return row({
    kind       => 'bug.delete',
    bug_id     => $bug->id,
    timestamp  => $timestamp,
    visibility => $visibility,
    was        => $visibility->is_public_bug($bug->id),
    is         => 0,
    _while_closed($bug, $more->{is_in_group} ? 1 : ()),
    full => sub { _deleted($bug, $more) },
  });
}

sub attachment_created {
  my ($attachment) = @_;
  return _attachment_row(
    'attachment.create',
    $attachment,
    $attachment->{creation_ts},
    {flags => flag_rows(@{$attachment->flags}), who => $attachment->{submitter_id}}
  );
}

# The content was removed; ATTACHMENT is as it was read afterwards.
sub attachment_deleted {
  my ($attachment, $timestamp) = @_;
  return _attachment_row('attachment.delete', $attachment, $timestamp,
    {flags => [], who => Bugzilla->user->id});
}

# DONE: who (an id), activity, flags (as Flags::between() returns them).
sub attachment_updated {
  my ($attachment, $changes, $timestamp, $done) = @_;
  return _attachment_row(
    'attachment.update',
    $attachment,
    $timestamp,
    {
      %$done,
      changes => $changes,
      both    => $done->{flags},
      flags   => $done->{flags}->{after}
    }
  );
}

sub _attachment_row {
  my ($kind, $attachment, $timestamp, $done) = @_;
  my $bug_id     = $attachment->{bug_id};
  my $more       = read_more($bug_id);
  my $visibility = _visibility($bug_id, $more);
  my $is_public  = $visibility->is_public_bug($bug_id);
  my $is_private = $attachment->{isprivate} ? 1 : 0;
  my $changes    = $done->{changes};
  $visibility->note_attachment($attachment->id, $is_private);
  return row({
    kind       => $kind,
    bug_id     => $bug_id,
    timestamp  => $timestamp,
    activity   => $done->{activity},
    visibility => $visibility,
    was        => $is_public,
    is         => $is_public,
    part_was   => $changes && $changes->{isprivate} ? $is_private : !$is_private,
    part_is    => !$is_private,
    full       => sub {
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user);
      my $both   = $done->{both};
      $logins->fetch($attachment->{submitter_id},
        $done->{who},
        people_of_flags(map {@$_} $both ? @$both{qw(before after)} : $done->{flags}));
      return {
        place      => $more->{place},
        who        => $logins->person($done->{who}),
        attachment => attachment_fact($logins, $attachment, $done->{flags}, $timestamp),
        $changes
        ? (
          changes => attachment_changes($logins, $changes, $both),
          flags   => flags_done($logins, $both->{done}),
          )
        : (),
      };
    },
  });
}

# KIND of a bug or an attachment, for a row that is filled later.
sub thin {
  my ($kind, $bug_id, $timestamp, $reason, %more) = @_;
  my ($groups)
    = handle()
    ->selectrow_array('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?',
    undef, $bug_id);
  my $is_public = site_is_public() && !$groups;
  return thin_row(
    $kind, $bug_id, $timestamp, $reason,
    was => $is_public,
    is  => $is_public,
    %more
  );
}

# What a deletion needs, read before it.
sub thin_deletion {
  my ($bug, $timestamp, $reason) = @_;
  my $deleted = _deleted($bug, read_more($bug->id));
  return thin('bug.delete', $bug->id, $timestamp, $reason,
    map { $_ => $deleted->{$_} } qw(place creation_time));
}

sub was_public {
  return Bugzilla::Extension::SourcePulse::Visibility->new->was_public_bug($_[0]);
}

# Whether the public could see the bug until the site was closed; only called
# while it is closed.
sub _while_closed {
  my ($bug, @old_groups) = @_;
  return () if site_is_public() || @old_groups;
  return (was_shown => was_shown_before_closing($bug));
}

sub _deleted {
  my ($bug, $more) = @_;
  return {
    place         => $more->{place},
    id            => number($bug->id),
    creation_time => time_text($bug->{creation_ts}),
  };
}

sub _old_place {
  my ($changes, $place) = @_;
  return [
    map { $changes->{$_->[0]} ? text($changes->{$_->[0]}->[0]) : $_->[1] }
      ['product', $place->[0]],
    ['component', $place->[1]]
  ];
}

# The people that the facts mention, read together; Bugzilla has already read
# most of them.
sub _logins {
  my ($bug, $more, $flags_before, $ids, @old_bugs) = @_;
  my $logins = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user,
    map { @{$_->cc_users} } $bug, @old_bugs);
  $logins->fetch(people_of_bug($bug, $more),
    people_of_flags(@$flags_before), @$ids);
  return $logins;
}

# The bug's own groups have been read already.
sub _visibility {
  my ($bug_id, $more) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  $visibility->note_bug($bug_id, $more->{is_in_group});
  return $visibility;
}

sub _comments_of {
  my ($bug_id) = @_;
  return handle()->selectall_arrayref(
    'SELECT comment_id, bug_id, who, bug_when, thetext, isprivate, type, extra_data FROM longdescs
      WHERE bug_id = ? ORDER BY comment_id', {Slice => {}}, $bug_id
  );
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Event - collects what a hook saw, for the
module that decides

=head1 DESCRIPTION

Each function collects, in the transaction of the change, the facts and whether
the bug was public before and is now, and returns the row that
L<Bugzilla::Extension::SourcePulse::View> makes of them, or undef if no stream
gets an event.

=head1 FUNCTIONS

C<bug_created>, C<bug_updated>, C<bug_deleted>, C<attachment_created>,
C<attachment_updated>, C<attachment_deleted>; C<thin> and C<thin_deletion>
return the row of what could not be written in full, C<was_public> says for it
whether a bug was public before its update.
