# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Event;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Comment;

use Bugzilla::Extension::SourcePulse::Audience;
use Bugzilla::Extension::SourcePulse::Changes;
use Bugzilla::Extension::SourcePulse::Facts;
use Bugzilla::Extension::SourcePulse::Flags;
use Bugzilla::Extension::SourcePulse::Params;
use Bugzilla::Extension::SourcePulse::Values qw(epoch number text time_text truth);
use Bugzilla::Extension::SourcePulse::Visibility;

use constant VERSION => 1;
use constant {HIDDEN => 'hidden', PUBLISHED => 'published'};

sub bug_created {
  my ($bug, $timestamp) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $comments   = _comments_of($bug->id);
  my $view       = sub {
    my ($audience) = @_;
    return {
      place    => Bugzilla::Extension::SourcePulse::Facts::place($bug),
      who      => $audience->person(Bugzilla::Extension::SourcePulse::Facts::user($bug->{reporter_id})),
      bug      => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $timestamp),
      comments => _comments($audience, $visibility, @$comments),
      flags    => Bugzilla::Extension::SourcePulse::Flags::facts($audience,
        map { {row => $_, status => $_->{status}} } @{Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$bug->flags})}),
    };
  };
  my $public = _prefetch($visibility, $bug) ? $view->(_everyone($visibility)) : undef;
  return _row('bug.create', $bug->id, $timestamp, undef, $public, $view);
}

# DONE: who, activity, flags (as Flags::between gives them), comments (new ones), and those hidden or published.
sub bug_updated {
  my ($bug, $old_bug, $changes, $timestamp, $done) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  local $bug->{sourcepulse_flags} = [grep { !$_->{attach_id} } @{$done->{flags}->{after}}];
  my $is_public  = _prefetch($visibility, $bug, $old_bug);
  my $was_public = $visibility->was_public_bug($old_bug);
  my $transition = $is_public == $was_public ? undef : $is_public ? PUBLISHED : HIDDEN;
  my $view       = sub {
    my ($audience, $with_old) = @_;
    my @flags = grep { $audience->is_public ? _is_public_flag($visibility, $_->{row}) : 1 } @{$done->{flags}->{done}};
    return {
      place      => Bugzilla::Extension::SourcePulse::Facts::place($bug),
      old_place  => Bugzilla::Extension::SourcePulse::Facts::place($old_bug),
      transition => $transition,
      was_open   => truth(Bugzilla::Extension::SourcePulse::Facts::is_open($old_bug)),
      bug        => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $timestamp),
      comments   => _comments($audience, $visibility, @{$done->{comments}}),
      who        => $with_old ? $audience->person($done->{who}) : undef,
      changes    => $with_old
      ? Bugzilla::Extension::SourcePulse::Changes::of_bug($audience, $bug, $old_bug, $changes, $done->{flags})
      : [],
      flags           => $with_old ? Bugzilla::Extension::SourcePulse::Flags::facts($audience, @flags) : [],
      comments_hidden => $with_old && (!$audience->is_public || Bugzilla::Extension::SourcePulse::Params::tell_hidden())
      ? [map { number($_->{comment_id}) } grep { _was_public_comment($audience, $visibility, $_) } @{$done->{hidden}}]
      : [],
      comments_published => $with_old ? _comments($audience, $visibility, @{$done->{published}}) : [],
    };
  };
  my $public;
  if ($is_public) {
    # What a bug was while it was private is never told, neither by old values nor by what was done to it.
    $public = $view->(_everyone($visibility), $was_public);
    $public = undef if $was_public && !_says_something($public);
  }
  elsif ($was_public && Bugzilla::Extension::SourcePulse::Params::tell_hidden()) {
    $public = _hidden($old_bug, id => number($bug->id), old_place => Bugzilla::Extension::SourcePulse::Facts::place($old_bug));
  }
  return _row('bug.update', $bug->id, $timestamp, $done->{activity}, $public, sub { $view->($_[0], 1) });
}

sub bug_deleted {
  my ($bug, $timestamp) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $view       = sub {
    return {
      place         => Bugzilla::Extension::SourcePulse::Facts::place($bug),
      id            => number($bug->id),
      creation_time => time_text($bug->{creation_ts}),
    };
  };
  return _row('bug.delete', $bug->id, $timestamp, undef, $visibility->is_public_bug($bug->id) ? $view->() : undef, $view);
}

sub attachment_created {
  my ($attachment) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $timestamp  = $attachment->{creation_ts};
  my $view       = sub {
    my ($audience) = @_;
    return {
      place      => Bugzilla::Extension::SourcePulse::Facts::place($attachment->bug),
      who        => $audience->person(Bugzilla::Extension::SourcePulse::Facts::user($attachment->{submitter_id})),
      attachment => Bugzilla::Extension::SourcePulse::Facts::attachment($audience, $attachment, $timestamp),
    };
  };
  my $is_public = !$attachment->{isprivate} && $visibility->is_public_bug($attachment->{bug_id});
  my $public    = $is_public ? $view->(_everyone($visibility)) : undef;
  return _row('attachment.create', $attachment->{bug_id}, $timestamp, undef, $public, $view);
}

# DONE: who, activity, flags.
sub attachment_updated {
  my ($attachment, $changes, $timestamp, $done) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $is_private  = $attachment->{isprivate} ? 1 : 0;
  my $was_private = $changes->{isprivate} ? !$is_private : $is_private;
  my $transition  = $is_private == $was_private ? undef : $is_private ? HIDDEN : PUBLISHED;
  my $view        = sub {
    my ($audience, $with_old) = @_;
    return {
      place      => Bugzilla::Extension::SourcePulse::Facts::place($attachment->bug),
      transition => $transition,
      attachment => Bugzilla::Extension::SourcePulse::Facts::attachment($audience, $attachment, $timestamp),
      who        => $with_old ? $audience->person($done->{who}) : undef,
      changes    => $with_old
      ? Bugzilla::Extension::SourcePulse::Changes::of_attachment($audience, $changes, $done->{flags})
      : [],
      flags => $with_old ? Bugzilla::Extension::SourcePulse::Flags::facts($audience, @{$done->{flags}->{done}}) : [],
    };
  };
  my $public;
  if ($visibility->is_public_bug($attachment->{bug_id})) {
    if (!$is_private) {
      $public = $view->(_everyone($visibility), !$was_private);
    }
    elsif (!$was_private && Bugzilla::Extension::SourcePulse::Params::tell_hidden()) {
      $public = _hidden($attachment->bug, id => number($attachment->id), bug_id => number($attachment->{bug_id}));
    }
  }
  return _row('attachment.update', $attachment->{bug_id}, $timestamp, $done->{activity}, $public, sub { $view->($_[0], 1) });
}

# What can still be told when the facts cannot be read or written: drain.pl reads the rest.
sub thin {
  my ($kind, $bug_id, $timestamp, $activity, $reason, %more) = @_;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => 0,
    payload   => {v => VERSION, at => epoch($timestamp), activity => number($activity), thin => $reason, %more},
  };
}

sub _row {
  my ($kind, $bug_id, $timestamp, $activity, $public, $view) = @_;
  my %views;
  $views{public}     = $public if $public;
  $views{restricted} = $view->(Bugzilla::Extension::SourcePulse::Audience->of_the_trusted)
    if Bugzilla::Extension::SourcePulse::Params::restricted();
  return undef unless %views;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => $public ? 1 : 0,
    payload   => {v => VERSION, at => epoch($timestamp), activity => number($activity), views => \%views},
  };
}

sub _everyone { return Bugzilla::Extension::SourcePulse::Audience->of_everyone($_[0]); }

sub _hidden {
  my ($bug, %members) = @_;
  return {place => Bugzilla::Extension::SourcePulse::Facts::place($bug), transition => HIDDEN, %members};
}

# One question for the bug and for all that it mentions.
sub _prefetch {
  my ($visibility, @bugs) = @_;
  my @fields = grep { $_->type == Bugzilla::Constants::FIELD_TYPE_BUG_ID() } Bugzilla->active_custom_fields;
  my @mentioned = grep {$_} map {
    my $bug = $_;
    ($bug->dup_id, @{$bug->dependson}, @{$bug->blocked}, map { $bug->{$_->name} } @fields)
  } @bugs;
  return $visibility->public_bugs($bugs[0]->id, map { number($_) || () } @mentioned)->{$bugs[0]->id} ? 1 : 0;
}

sub _comments {
  my ($audience, $visibility, @comments) = @_;
  return [
    map { Bugzilla::Extension::SourcePulse::Facts::comment($audience, $_) }
    grep { !$audience->is_public || $visibility->is_public_comment($_) } @comments
  ];
}

# A comment that was hidden now, and was as public before as it can be by itself.
sub _was_public_comment {
  my ($audience, $visibility, $comment) = @_;
  return !$audience->is_public || $visibility->is_public_comment({%$comment, isprivate => 0});
}

sub _is_public_flag {
  my ($visibility, $row) = @_;
  return 1 unless $row->{attach_id};
  return $visibility->state_of_attachments($row->{attach_id})->{$row->{attach_id}} eq
    Bugzilla::Extension::SourcePulse::Visibility::PUBLIC ? 1 : 0;
}

sub _says_something {
  my ($view) = @_;
  return scalar grep { @{$view->{$_}} } qw(changes comments comments_hidden comments_published flags);
}

sub _comments_of {
  my ($bug_id) = @_;
  return Bugzilla->dbh->selectall_arrayref(
    'SELECT comment_id, bug_id, who, bug_when, thetext, isprivate, type, extra_data FROM longdescs
      WHERE bug_id = ? ORDER BY comment_id', {Slice => {}}, $bug_id);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Event - what happened, as rows of the outbox with a view for each stream

=head1 DESCRIPTION

Each function gives a row (C<kind>, C<bug_id>, C<is_public>, C<payload>), or undef if no stream has anything of it. The public view is decided here, in the
transaction, and later only ever withheld. F<PROTOCOL.md> beside this extension has the form of a payload.

=over

=item private to private

No public view.

=item private to public

The bug as it is now and the comments of this update: no old values, nobody, no flags.

=item public to private

The number of the bug and where it was.

=item public to public

All that L<Bugzilla::Extension::SourcePulse::Audience> lets through; no view if that is nothing.

=back

=head1 FUNCTIONS

C<bug_created>, C<bug_updated>, C<bug_deleted>, C<attachment_created>, C<attachment_updated>; C<thin> makes the row of what could not be told in full.
