# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::EventCheck;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Json       qw(number);
use Bugzilla::Extension::SourcePulse::Params     qw(publishes_hidden);
use Bugzilla::Extension::SourcePulse::Redaction  qw();
use Bugzilla::Extension::SourcePulse::Visibility qw(GONE PUBLIC site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(check_events);

# Members that are redacted; the changes last, because their flags have names of
# people of whom the other members have the ids.
my @REDACTED = qw(bug who comment attachment flag changes);

# The other members that an event may have; they reveal nothing about a bug.
my %IS_KNOWN = map { $_ => 1 } @REDACTED,
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
  return _withheld() if $fact eq 'hidden' && !publishes_hidden();
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
  return undef if grep { !$IS_KNOWN{$_} } keys %$data;
  my %public = %$data;
  foreach my $name (grep { $data->{$_} } @REDACTED) {
    my $method = $name eq 'who' ? 'person' : $name;
    $public{$name} = $redact->$method($data->{$name});
  }
  return undef if $public{changes} && !@{$public{changes}};
  $public{truncated} = _still_there(\%public, $data)
    if $data->{truncated} && @{$data->{truncated}};
  return \%public;
}

# The parts that may mention other bugs.
sub _parts_with_bugs {
  my ($data) = @_;
  my @parts  = map { $data->{$_} } qw(bug comment changes);
  return grep { ref $_ eq 'HASH' || ref $_ eq 'ARRAY' } @parts;
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

Bugzilla::Extension::SourcePulse::EventCheck - whether an event that waits may
be sent now

=head1 DESCRIPTION

An event was public when L<Bugzilla::Extension::SourcePulse::View> made it, but
may have become private since. Here it is redacted again by the same
L<Bugzilla::Extension::SourcePulse::Redaction>, which only removes.
