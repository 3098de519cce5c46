# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::View;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Params     qw(restricted tell_hidden);
use Bugzilla::Extension::SourcePulse::Redaction  qw();
use Bugzilla::Extension::SourcePulse::Values     qw(epoch number truth);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(check_events row thin_row);

use constant VERSION => 1;
use constant {HIDDEN => 'hidden', PUBLISHED => 'published'};

use constant PUBLIC => Bugzilla::Extension::SourcePulse::Visibility::PUBLIC;
use constant GONE   => Bugzilla::Extension::SourcePulse::Visibility::GONE;

# -- what happened, as a row of the outbox

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
# returns the view with everything; visibility: what is public now. Each kind
# has further members, see below. Returns undef if no stream gets an event.
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
      v        => VERSION,
      at       => epoch($case->{timestamp}),
      activity => number($case->{activity}),
      views    => \%views,
    },
  };
}

# The row to write if the facts cannot be read or serialized, or if there are
# too many: drain.pl reads them later. Whether the bug was public before and
# after must be recorded here, because it cannot be found out later.
sub thin_row {
  my ($kind, $bug_id, $timestamp, $reason, %more) = @_;
  return {
    kind      => $kind,
    bug_id    => number($bug_id),
    is_public => 0,
    timestamp => $timestamp,
    payload   => {
      v        => VERSION,
      at       => epoch($timestamp),
      activity => undef,
      %more,
      was  => truth($more{was}),
      is   => truth($more{is}),
      thin => $reason,
    },
  };
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
  $view{changes}
    = Bugzilla::Extension::SourcePulse::Redaction->all_changes($view{changes})
    if $view{changes};
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
  return Bugzilla::Extension::SourcePulse::Redaction->new($_[0]->{visibility});
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
    old_place          => $view->{old_place},
    transition         => $was ? undef : PUBLISHED,
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
  return undef if !tell_hidden() || $case->{is_place_unknown};
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
        if tell_hidden()
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
    return undef unless tell_hidden();
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

# -- checking a waiting event again

# Members of events that reveal nothing about a bug.
my %PLAIN = map { $_ => 1 }
  qw(change_set recovered truncated raw id bug_id attachment_id product component version milestone keyword);

# What may be sent of each event under the current parameters; never more than
# it already has.
sub check_events {
  my (@events)   = @_;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $redact     = Bugzilla::Extension::SourcePulse::Redaction->new($visibility);
  my @all        = grep { ref $_ eq 'HASH' } map { $_->{data} } @events;

  # One statement for all bugs that the events mention.
  my %bugs
    = map { $_ => 1 }
    grep  {$_}
    map   { (
    _bug_of('bug', $_), _bug_of('comment', $_), _bug_of('attachment', $_)) } @all;
  $visibility->public_bugs(keys %bugs) if %bugs;
  $redact->prepare(map { _parts_with_bugs($_) } @all);
  return [map { _check($visibility, $redact, @$_{qw(type data)}) } @events];
}

sub _check {
  my ($visibility, $redact, $type, $data) = @_;
  my ($part, $fact) = $type =~ /\Abugzilla\.([a-z]+)\.([a-z]+)\.v[0-9]+\z/;
  return _withheld()
    unless defined $fact && ref $data eq 'HASH' && site_is_public();
  return _check_thing($visibility, $part, $fact, $data)
    if $part =~ /\A(?:product|component|version|milestone|keyword)\z/;
  return _withheld() if $fact eq 'hidden' && !tell_hidden();
  if ($part eq 'bug' && $fact eq 'hidden') { return {send => \1} }
  if ($part eq 'bug' && $fact eq 'deleted') {
    my $id = number($data->{id});
    return
      defined $id && $visibility->state_of_bugs($id)->{$id} eq GONE
      ? {send => \1}
      : _withheld();
  }
  my $bug_id = _bug_of($part, $data);
  return _withheld() unless $bug_id && $visibility->is_public_bug($bug_id);
  return _withheld($bug_id)
    unless $fact eq 'hidden'
    || _is_public_part($visibility, $redact, $part, $data);
  my $public = _again($redact, $data);
  return _withheld($bug_id) unless $public;
  return {send => \1, _is_same($data, $public) ? () : (data => $public)};
}

# The parts that may mention other bugs.
sub _parts_with_bugs {
  my ($data) = @_;
  my @parts  = map { $data->{$_} } qw(bug comment changes);
  return grep { ref $_ eq 'HASH' || ref $_ eq 'ARRAY' } @parts;
}

sub _withheld { return {send => \0, bug => number($_[0])}; }

# For a deleted thing, only its deletion, unless its product is private.
sub _check_thing {
  my ($visibility, $part, $fact, $data) = @_;
  my $thing = $data->{$part};
  return _withheld() unless ref $thing eq 'HASH';
  return {send => \1} if $part eq 'keyword';
  my $id = number($part eq 'product' ? $thing->{id} : $thing->{product_id});
  return _withheld() unless defined $id;
  my $state = $visibility->state_of_products($id)->{$id};
  return $state eq PUBLIC
    || ($state eq GONE && $fact eq 'deleted') ? {send => \1} : _withheld();
}

sub _bug_of {
  my ($part, $data) = @_;
  return number($data->{bug}->{id})
    if $part eq 'bug' && ref $data->{bug} eq 'HASH';
  my $holder = ref $data->{$part} eq 'HASH'
    && exists $data->{$part}->{bug_id} ? $data->{$part} : $data;
  return number($holder->{bug_id});
}

sub _is_public_part {
  my ($visibility, $redact, $part, $data) = @_;
  return 1                                                     if $part eq 'bug';
  return $redact->is_public_attachment($data->{attachment_id}) if $part eq 'flag';
  my $id = ref $data->{$part} eq 'HASH' ? number($data->{$part}->{id}) : undef;
  return 0 unless defined $id;
  return $redact->is_public_attachment($id) if $part eq 'attachment';
  return 0 unless $part eq 'comment';
  return $visibility->state_of_comments($id)->{$id} eq PUBLIC
    && $redact->is_public_comment($data->{comment}) ? 1 : 0;
}

# The data after the same redaction; undef if nothing remains of it, or if it
# has unknown members.
sub _again {
  my ($redact, $data) = @_;
  $redact->begin_event;
  my %public = %$data;
  $public{bug}        = $redact->bug($data->{bug})         if $data->{bug};
  $public{who}        = $redact->person($data->{who})      if $data->{who};
  $public{comment}    = $redact->comment($data->{comment}) if $data->{comment};
  $public{attachment} = $redact->attachment($data->{attachment})
    if $data->{attachment};
  $public{flag} = $redact->flag($data->{flag}) if $data->{flag};

  if ($data->{changes}) {
    $public{changes} = $redact->changes($data->{changes});
    return undef unless @{$public{changes}};
  }
  return undef
    if grep { !$PLAIN{$_} && !/\A(?:bug|who|comment|attachment|flag|changes)\z/ }
    keys %public;
  $public{truncated} = _still_there(\%public, $data)
    if $data->{truncated} && @{$data->{truncated}};
  return \%public;
}

# The list of cut texts, by JSON pointer; pointers to removed changes are
# dropped, pointers to moved ones are adjusted.
sub _still_there {
  my ($public, $data) = @_;
  my %now;
  my $place = 0;
  foreach my $change (@{$public->{changes} || []}) {
    $now{$change->{field_name}} = $place++;
  }
  my @kept;
  foreach my $cut (@{$data->{truncated}}) {
    my %copy = %$cut;
    if ($copy{field} =~ m{\A/changes/([0-9]+)(/.*)?\z}s) {
      my ($old, $rest) = ($data->{changes}->[$1], $2);
      my $new = $old ? $now{$old->{field_name}} : undef;
      next unless defined $new;
      $copy{field} = "/changes/$new" . (defined $rest ? $rest : '');
    }
    my $value = _at($public, $copy{field});
    next unless defined $value;
    $copy{kept} = @$value if ref $value eq 'ARRAY';
    push(@kept, \%copy);
  }
  return \@kept;
}

# The value at a JSON pointer (RFC 6901).
sub _at {
  my ($value, $pointer) = @_;
  my (undef,  @names)   = split(m{/}, $pointer, -1);
  foreach my $name (@names) {
    $name =~ s{~1}{/}g;
    $name =~ s/~0/~/g;
    $value = ref $value eq 'HASH' ? $value->{$name} : ref $value eq 'ARRAY'
      && $name =~ /\A[0-9]+\z/ ? $value->[$name] : return undef;
  }
  return $value;
}

# Whether the redaction changed nothing. Booleans are objects here.
sub _is_same {
  my ($one, $other) = @_;
  return 1 if ref $one && ref $other && $one == $other;
  if (ref $one eq 'HASH' && ref $other eq 'HASH') {
    return 0 unless keys %$one == keys %$other;
    foreach my $name (keys %$one) {
      return 0
        unless exists $other->{$name} && _is_same($one->{$name}, $other->{$name});
    }
    return 1;
  }
  if (ref $one eq 'ARRAY' && ref $other eq 'ARRAY') {
    return 0 unless @$one == @$other;
    foreach my $place (0 .. $#$one) {
      return 0 unless _is_same($one->[$place], $other->[$place]);
    }
    return 1;
  }
  return !defined $one  && !defined $other ? 1 : 0
    unless defined $one && defined $other;
  return $one eq $other ? 1 : 0;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::View - decides, as the only module, what each
stream gets of a change

=head1 DESCRIPTION

The hooks, the recovery from Bugzilla's history and the check before publishing
pass the complete facts, and whether the bug was public before and after. From
these, this module makes the view of each stream;
L<Bugzilla::Extension::SourcePulse::Redaction> has the rules for single values.

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

=over

=item C<row CASE>

A row of the outbox, or undef if no stream gets an event.

=item C<thin_row KIND, BUG_ID, TIMESTAMP, REASON, MORE>

A row whose facts drain.pl reads later.

=item C<check_events EVENTS>

The verdicts on events that were written before, each with its C<type> and
C<data>, as F<PROTOCOL.md> describes them.

=back
