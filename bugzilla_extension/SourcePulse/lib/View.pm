# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::View;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Json      qw(number);
use Bugzilla::Extension::SourcePulse::Params    qw(publishes_hidden restricted);
use Bugzilla::Extension::SourcePulse::Redaction qw(all_changes);
use Bugzilla::Extension::SourcePulse::Times     qw(epoch);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(PAYLOAD_VERSION may_be_public row);

use constant PAYLOAD_VERSION => 1;
use constant {HIDDEN => 'hidden', PUBLISHED => 'published'};

my %PUBLIC_VIEW = (
  'bug.create'        => \&_bug_created,
  'bug.update'        => \&_bug_updated,
  'bug.delete'        => \&_bug_deleted,
  'attachment.create' => \&_attachment_created,
  'attachment.update' => \&_attachment_updated,
  'attachment.delete' => \&_attachment_created,
);

# CASE: kind, bug_id, timestamp, activity; was and is: whether the bug was
# public before and after (undef if that is unknown); full: a function that
# returns the view with everything; visibility: what is public now; custom:
# the custom fields, unless they are the current ones. Each kind has further
# members, see below. Returns undef if no stream gets an event.
sub row {
  my ($case) = @_;
  my %views;
  my $full = _once($case->{full});
  if (my $public = _public_view($case, $full)) { $views{public} = $public }
  if (restricted()) {
    $views{restricted} = _restricted_view($case, $full->());
  }
  return undef unless %views;
  return {
    kind      => $case->{kind},
    bug_id    => $case->{bug_id} + 0,
    is_public => $views{public} ? 1 : 0,
    timestamp => $case->{timestamp},
    payload   => {
      v        => PAYLOAD_VERSION,
      at       => epoch($case->{timestamp}),
      activity => number($case->{activity}),
      views    => \%views,
    },
  };
}

# Whether an update of a bug may have a public view, of what is known before its
# facts are read: was, is, was_shown, is_in_group.
sub may_be_public {
  my ($case) = @_;
  return $case->{was} || $case->{is}                ? 1 : 0 if site_is_public();
  return $case->{was_shown} && $case->{is_in_group} ? 1 : 0;
}

sub _once {
  my ($make) = @_;
  my $made;
  return sub { return $made ||= $make->() };
}

sub _restricted_view {
  my ($case, $full) = @_;
  my %view = %$full;
  $view{transition} = _transition($case)
    if $case->{kind} =~ /update\z/ && $case->{bug_id};
  $view{changes} = all_changes($view{changes}) if $view{changes};
  if (my $toggled = delete $view{comments_toggled}) {
    $view{comments_hidden}
      = [map { $_->{comment}->{id} } grep { $_->{is_hidden} } @$toggled];
    $view{comments_published}
      = [map { $_->{comment} } grep { !$_->{is_hidden} } @$toggled];
  }
  return \%view;
}

# Of the bug, or of the attachment if the row is about one.
sub _transition {
  my ($case) = @_;
  my ($was, $is)
    = @$case{$case->{kind} =~ /\Aattachment/ ? qw(part_was part_is) : qw(was is)};
  return undef if !defined $was || !defined $is || !!$was == !!$is;
  return $is ? PUBLISHED : HIDDEN;
}

# While visitors must log in to see anything, nothing is public.
sub _public_view {
  my ($case, $full) = @_;
  return _view_while_closed($case, $full) unless site_is_public();
  return _thing_view($case, $full)        unless $case->{bug_id};
  return $PUBLIC_VIEW{$case->{kind}}->($case, $full);
}

# Events that hide or delete what the stream has shown must be recorded, for
# when the site opens again; until then the check withholds everything.
sub _view_while_closed {
  my ($case, $full) = @_;
  return undef unless $case->{was_shown};
  return $full->()                  if $case->{kind} eq 'bug.delete';
  return _hidden_view($case, $full) if $case->{is_in_group};
  return undef;
}

# All views show the bug as it is now, so it must be public now.
sub _is_public_now {
  my ($case) = @_;
  return $case->{visibility}->is_public_bug($case->{bug_id});
}

sub _redaction {
  my ($case) = @_;
  return Bugzilla::Extension::SourcePulse::Redaction->new(
    @$case{qw(visibility custom)});
}

sub _bug_created {
  my ($case, $full) = @_;
  return undef unless $case->{is} && _is_public_now($case);
  my ($view, $redact) = ($full->(), _redaction($case));
  $redact->prepare(@$view{qw(bug comments)});
  return {
    place    => $view->{place},
    who      => $redact->person($view->{who}),
    bug      => $redact->bug($view->{bug}),
    comments => $redact->comments($view->{comments}),
    flags    => $redact->flags_done($view->{flags}),
  };
}

sub _bug_updated {
  my ($case, $full) = @_;
  my ($was,  $is)   = @$case{qw(was is)};
  return undef unless defined $was          && defined $is;
  return _hidden_view($case, $full) if $was && !$is;
  return undef unless $is                   && _is_public_now($case);
  my ($view, $redact) = ($full->(), _redaction($case));
  $redact->prepare(@$view{qw(bug changes comments)});
  my %public = (
    place              => $view->{place},
    old_place          => $was ? $view->{old_place} : $view->{place},
    transition         => $was ? undef              : PUBLISHED,
    was_open           => $view->{was_open},
    bug                => $redact->bug($view->{bug}),
    comments           => $redact->comments($view->{comments}),
    who                => undef,
    changes            => [],
    flags              => [],
    comments_hidden    => [],
    comments_published => [],
  );

  # What a bug was while it was private is never published, neither as old
  # values nor as changes.
  return \%public unless $was;
  $public{who}     = $redact->person($view->{who});
  $public{changes} = $redact->changes($view->{changes});
  $public{flags}   = $redact->flags_done($view->{flags});
  _add_toggled(\%public, $redact, $view->{comments_toggled});
  return (grep { @{$public{$_}} }
      qw(changes comments comments_hidden comments_published flags))
    ? \%public
    : undef;
}

# The present place of the bug may be secret.
sub _hidden_view {
  my ($case, $full) = @_;
  return undef if !publishes_hidden() || $case->{is_place_unknown};
  my $place = $full->()->{old_place};
  return {
    place      => $place,
    old_place  => $place,
    transition => HIDDEN,
    id         => $case->{bug_id} + 0
  };
}

# Comments whose privacy changed. One that was hidden was public before only if
# nothing else hid it.
sub _add_toggled {
  my ($public, $redact, $toggled) = @_;
  foreach my $each (@$toggled) {
    my ($comment, $is_hidden) = @$each{qw(comment is_hidden)};
    if ($is_hidden) {
      push(@{$public->{comments_hidden}}, $comment->{id})
        if publishes_hidden()
        && $each->{part_was}
        && $redact->is_public_comment({%$comment, is_private => 0});
    }
    elsif ($redact->is_public_comment($comment)) {
      push(@{$public->{comments_published}}, $redact->comment($comment));
    }
  }
  return;
}

sub _bug_deleted {
  my ($case, $full) = @_;
  return $case->{was} ? $full->() : undef;
}

# Also for an attachment whose content was removed.
sub _attachment_created {
  my ($case, $full) = @_;
  return undef unless $case->{is} && $case->{part_is} && _is_public_now($case);
  my ($view, $redact) = ($full->(), _redaction($case));
  return undef
    if $view->{attachment}->{is_private} && ${$view->{attachment}->{is_private}};
  return {
    place      => $view->{place},
    who        => $redact->person($view->{who}),
    attachment => $redact->attachment($view->{attachment}),
  };
}

# PART_WAS, PART_IS: whether the attachment itself was public before and
# after.
sub _attachment_updated {
  my ($case, $full) = @_;
  return undef unless $case->{was} && $case->{is} && _is_public_now($case);
  my ($was, $is) = @$case{qw(part_was part_is)};
  my $view = $full->();
  if ($was && !$is) {
    return undef unless publishes_hidden();
    my $fact = $view->{attachment};
    return {
      place      => $view->{place},
      transition => HIDDEN,
      id         => $fact->{id},
      bug_id     => $fact->{bug_id}
    };
  }
  return undef unless $is && !${$view->{attachment}->{is_private}};
  my $redact = _redaction($case);
  my %public = (
    place      => $view->{place},
    transition => $was ? undef : PUBLISHED,
    attachment => $redact->attachment($view->{attachment}),
    who        => undef,
    changes    => [],
    flags      => [],
  );
  return \%public unless $was;
  $public{who}     = $redact->person($view->{who});
  $public{changes} = $redact->changes($view->{changes});
  $public{flags}   = $redact->flags_done($view->{flags});
  return @{$public{changes}} || @{$public{flags}} ? \%public : undef;
}

# Products, components, versions, milestones and keywords; IS is whether a
# visitor can choose it.
sub _thing_view {
  my ($case, $full) = @_;
  return undef unless $case->{is};
  my $view = $full->();
  return {
    words => $view->{words},
    thing => $view->{thing},
    $view->{changes}
    ? (changes => _redaction($case)->changes($view->{changes}))
    : (),
  };
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::View - decides, as the only module, what each
stream gets of a change

=head1 DESCRIPTION

The hooks and the recovery from Bugzilla's history pass the complete facts, and
whether the bug was public before and after. From these, this module makes the
view of each stream; L<Bugzilla::Extension::SourcePulse::Redaction> has the
rules for single values.

=over

=item private to private

No public view.

=item private to public

The bug as it is now and the comments of this update: no old values, no people
who acted, no flags.

=item public to private

The number of the bug and its place before.

=item public to public

Everything that the redaction keeps; no view if that is nothing.

=item unknown

No public view.

=back

=head1 FUNCTIONS

C<row CASE> returns a row of the outbox, or undef if no stream gets an event.
