# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Event;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants qw(FIELD_TYPE_BUG_ID);

use Bugzilla::Extension::SourcePulse::Audience;
use Bugzilla::Extension::SourcePulse::Changes;
use Bugzilla::Extension::SourcePulse::Database qw(handle);
use Bugzilla::Extension::SourcePulse::Facts;
use Bugzilla::Extension::SourcePulse::Flags;
use Bugzilla::Extension::SourcePulse::Logins;
use Bugzilla::Extension::SourcePulse::Params;
use Bugzilla::Extension::SourcePulse::Values qw(epoch number text time_text truth);
use Bugzilla::Extension::SourcePulse::Visibility;

use constant VERSION => 1;
use constant {HIDDEN => 'hidden', PUBLISHED => 'published'};

sub bug_created {
  my ($bug, $timestamp) = @_;
  my $more = Bugzilla::Extension::SourcePulse::Facts::read_more($bug->id);
  my $flags = $more->{flags} = Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$bug->flags});
  my $comments   = _comments_of($bug->id);
  my $logins     = _logins($bug, $more, [], []);
  my $visibility = _visibility($bug, $more);
  my $view       = sub {
    my ($audience) = @_;
    return {
      place    => $more->{place},
      who      => $audience->person($bug->{reporter_id}),
      bug      => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $more, $timestamp),
      comments => _comments($audience, $visibility, $comments),
      flags    => Bugzilla::Extension::SourcePulse::Flags::facts($audience, map { {row => $_, status => $_->{status}} } @$flags),
    };
  };
  my $public
    = $visibility->is_public_bug($bug->id)
    ? $view->(Bugzilla::Extension::SourcePulse::Audience->of_everyone($logins, $visibility))
    : undef;
  return _row('bug.create', $bug->id, $timestamp, undef, $public, $logins, $view);
}

# DONE: who (an id), flags (as Flags::between gives them), comments (new ones), and those hidden or published.
sub bug_updated {
  my ($bug, $old_bug, $changes, $more, $timestamp, $done) = @_;
  $more->{flags} = $done->{flags}->{after};
  my $old_place = [map { $changes->{$_->[0]} ? text($changes->{$_->[0]}->[0]) : $_->[1] }
      ['product', $more->{place}->[0]], ['component', $more->{place}->[1]]];
  my $logins     = _logins($bug, $more, $done->{flags}->{before}, [$done->{who}, @$old_bug{qw(assigned_to qa_contact)}], $old_bug);
  my $visibility = _visibility($bug, $more, $old_bug);
  my $is_public  = $visibility->is_public_bug($bug->id);
  my $was_public = $visibility->was_public_bug($old_bug);
  my $transition = $is_public == $was_public ? undef : $is_public ? PUBLISHED : HIDDEN;
  # The new comments are the last ones.
  my $first_count = $more->{comments} - @{$done->{comments}};
  my $view        = sub {
    my ($audience, $with_old) = @_;
    my $tells_hidden = !$audience->is_public || Bugzilla::Extension::SourcePulse::Params::tell_hidden();
    my $view         = {
      place      => $more->{place},
      old_place  => $old_place,
      transition => $transition,
      was_open   => truth($done->{was_open}),
      bug        => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $more, $timestamp),
      comments   => _comments($audience, $visibility, $done->{comments}, $first_count),
      who        => undef,
      map { $_ => [] } qw(changes flags comments_hidden comments_published)
    };
    return $view unless $with_old;
    my @flags = grep { !$audience->is_public || _is_public_flag($visibility, $_->{row}) } @{$done->{flags}->{done}};
    $view->{who}     = $audience->person($done->{who});
    $view->{changes} = Bugzilla::Extension::SourcePulse::Changes::of_bug($audience, $bug, $old_bug, $changes, $done->{flags});
    $view->{flags}   = Bugzilla::Extension::SourcePulse::Flags::facts($audience, @flags);
    $view->{comments_hidden}
      = [map { number($_->{comment_id}) } grep { _was_public_comment($audience, $visibility, $_) } @{$done->{hidden}}]
      if $tells_hidden;
    $view->{comments_published} = _comments($audience, $visibility, $done->{published});
    return $view;
  };
  my $public;
  if ($is_public) {
    # What a bug was while it was private is never told, neither by old values nor by what was done to it.
    $public = $view->(Bugzilla::Extension::SourcePulse::Audience->of_everyone($logins, $visibility), $was_public);
    $public = undef if $was_public && !_says_something($public);
  }
  elsif ($was_public && Bugzilla::Extension::SourcePulse::Params::tell_hidden()) {
    $public = {place => $old_place, old_place => $old_place, transition => HIDDEN, id => number($bug->id)};
  }
  return _row('bug.update', $bug->id, $timestamp, $more->{activity}, $public, $logins, sub { $view->($_[0], 1) });
}

sub bug_deleted {
  my ($bug, $timestamp) = @_;
  my $more       = Bugzilla::Extension::SourcePulse::Facts::read_more($bug->id);
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  $visibility->note_bug($bug->id, $more->{is_in_group});
  my $view
    = {place => $more->{place}, id => number($bug->id), creation_time => time_text($bug->{creation_ts})};
  return _row('bug.delete', $bug->id, $timestamp, undef, $visibility->is_public_bug($bug->id) ? $view : undef,
    undef, sub {$view});
}

sub attachment_created {
  my ($attachment) = @_;
  my $more       = _more_of_attachment($attachment);
  my $flags      = Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$attachment->flags});
  my $timestamp  = $attachment->{creation_ts};
  my $logins     = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user);
  my $view       = sub {
    my ($audience) = @_;
    return {
      place      => $more->{place},
      who        => $audience->person($attachment->{submitter_id}),
      attachment => Bugzilla::Extension::SourcePulse::Facts::attachment($audience, $attachment, $flags, $timestamp),
    };
  };
  my $is_public = !$attachment->{isprivate} && $more->{is_public};
  my $public    = $is_public ? $view->(Bugzilla::Extension::SourcePulse::Audience->of_everyone($logins)) : undef;
  return _row('attachment.create', $attachment->{bug_id}, $timestamp, undef, $public, $logins, $view);
}

# DONE: who (an id), activity, flags.
sub attachment_updated {
  my ($attachment, $changes, $timestamp, $done) = @_;
  my $more        = _more_of_attachment($attachment);
  my $is_private  = $attachment->{isprivate} ? 1 : 0;
  my $was_private = $changes->{isprivate} ? !$is_private : $is_private;
  my $transition  = $is_private == $was_private ? undef : $is_private ? HIDDEN : PUBLISHED;
  my $logins      = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user);
  $logins->fetch($attachment->{submitter_id},
    map { Bugzilla::Extension::SourcePulse::Facts::people_of_flags(@$_) } @{$done->{flags}}{qw(before after)});
  my $view = sub {
    my ($audience, $with_old) = @_;
    my $after = $done->{flags}->{after};
    return {
      place      => $more->{place},
      transition => $transition,
      attachment => Bugzilla::Extension::SourcePulse::Facts::attachment($audience, $attachment, $after, $timestamp),
      who        => $with_old ? $audience->person($done->{who}) : undef,
      changes    => $with_old
      ? Bugzilla::Extension::SourcePulse::Changes::of_attachment($audience, $changes, $done->{flags})
      : [],
      flags => $with_old ? Bugzilla::Extension::SourcePulse::Flags::facts($audience, @{$done->{flags}->{done}}) : [],
    };
  };
  my $public;
  if ($more->{is_public} && !$is_private) {
    $public = $view->(Bugzilla::Extension::SourcePulse::Audience->of_everyone($logins), !$was_private);
  }
  elsif ($more->{is_public} && !$was_private && Bugzilla::Extension::SourcePulse::Params::tell_hidden()) {
    $public = {
      place      => $more->{place},
      transition => HIDDEN,
      id         => number($attachment->id),
      bug_id     => number($attachment->{bug_id}),
    };
  }
  return _row('attachment.update', $attachment->{bug_id}, $timestamp, $done->{activity}, $public, $logins,
    sub { $view->($_[0], 1) });
}

# What can still be told when the facts cannot be read or written: drain.pl reads the rest. Whether the bug was public
# and is now must be known here, for nobody can find out later.
sub thin {
  my ($kind, $bug_id, $timestamp, $reason, %more) = @_;
  my ($is_in_group) = handle()->selectrow_array('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?', undef, $bug_id);
  my $is_public = Bugzilla::Extension::SourcePulse::Visibility::site_is_public() && !$is_in_group;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => 0,
    timestamp => $timestamp,
    payload   => {
      v        => VERSION,
      at       => epoch($timestamp),
      activity => undef,
      was      => truth($is_public),
      is       => truth($is_public),
      %more,
      thin     => $reason,
    },
  };
}

sub was_public { return truth(Bugzilla::Extension::SourcePulse::Visibility->new->was_public_bug($_[0])); }

sub _row {
  my ($kind, $bug_id, $timestamp, $activity, $public, $logins, $view) = @_;
  my %views;
  $views{public}     = $public if $public;
  $views{restricted} = $view->(Bugzilla::Extension::SourcePulse::Audience->of_the_trusted($logins))
    if Bugzilla::Extension::SourcePulse::Params::restricted();
  return undef unless %views;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => $public ? 1 : 0,
    timestamp => $timestamp,
    payload   => {v => VERSION, at => epoch($timestamp), activity => number($activity), views => \%views},
  };
}

# Whom the facts mention, read together; most of them Bugzilla has read already.
sub _logins {
  my ($bug, $more, $flags_before, $ids, @old_bugs) = @_;
  my $logins = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user, map { @{$_->cc_users} } $bug, @old_bugs);
  $logins->fetch(
    Bugzilla::Extension::SourcePulse::Facts::people_of_bug($bug, $more),
    Bugzilla::Extension::SourcePulse::Facts::people_of_flags(@$flags_before), @$ids
  );
  return $logins;
}

# The bug's own groups are read; one question for all other bugs that it mentions now or did before.
sub _visibility {
  my ($bug, $more, @old_bugs) = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  $visibility->note_bug($bug->id, $more->{is_in_group});
  my @fields = map { $_->{name} } grep { $_->{type} == FIELD_TYPE_BUG_ID } Bugzilla->active_custom_fields;
  my %mentioned;
  foreach my $each ($bug, @old_bugs) {
    my @urls = map { $_->name =~ /[?&;]id=([0-9]+)/ } grep { $_->isa('Bugzilla::BugUrl::Bugzilla::Local') } @{$each->see_also};
    $mentioned{$_} = 1 foreach grep { $_ && /\A[0-9]+\z/ } $each->dup_id, @{$each->dependson}, @{$each->blocked}, @urls, @$each{@fields};
  }
  $visibility->public_bugs(keys %mentioned) if %mentioned && $visibility->is_public_bug($bug->id);
  return $visibility;
}

sub _more_of_attachment {
  my ($attachment) = @_;
  my $more       = Bugzilla::Extension::SourcePulse::Facts::read_more($attachment->{bug_id});
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  $visibility->note_bug($attachment->{bug_id}, $more->{is_in_group});
  $more->{is_public} = $visibility->is_public_bug($attachment->{bug_id});
  return $more;
}

sub _comments {
  my ($audience, $visibility, $comments, $first_count) = @_;
  my @facts;
  foreach my $place (0 .. $#$comments) {
    my $comment = $comments->[$place];
    next if $audience->is_public && !$visibility->is_public_comment($comment);
    my $count = defined $first_count ? $first_count + $place : undef;
    push(@facts, Bugzilla::Extension::SourcePulse::Facts::comment($audience, $comment, $count));
  }
  return \@facts;
}

# A comment that was hidden now, and was as public before as it can be by itself.
sub _was_public_comment {
  my ($audience, $visibility, $comment) = @_;
  return !$audience->is_public || $visibility->is_public_comment({%$comment, isprivate => 0});
}

sub _is_public_flag {
  my ($visibility, $row) = @_;
  my $id = $row->{attach_id} or return 1;
  return $visibility->state_of_attachments($id)->{$id} eq Bugzilla::Extension::SourcePulse::Visibility::PUBLIC ? 1 : 0;
}

sub _says_something {
  my ($view) = @_;
  return scalar grep { @{$view->{$_}} } qw(changes comments comments_hidden comments_published flags);
}

sub _comments_of {
  my ($bug_id) = @_;
  return handle()->selectall_arrayref(
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

C<bug_created>, C<bug_updated>, C<bug_deleted>, C<attachment_created>, C<attachment_updated>; C<thin> makes the row of
what could not be told in full, C<was_public> says for it whether a bug was public before its update.
