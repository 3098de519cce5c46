# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Json;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT_OK
  = qw(cut_text decode_json_text encode_json_text number text truth);

# The limit of a text in events.
use constant TEXT_MAX_BYTES => 64 * 1024;

# Empty for undef.
sub text {
  my ($value) = @_;
  return defined $value ? "$value" : '';
}

# A whole number; undef for anything else.
sub number {
  my ($value) = @_;
  return defined $value && $value =~ /\A-?[0-9]+\z/ ? $value + 0 : undef;
}

sub truth {
  my ($value) = @_;
  return $value ? \1 : \0;
}

# The beginning of a text, in whole characters, and its size in bytes of UTF-8
# if it was cut.
sub cut_text {
  my ($text) = @_;

  # A text this short in characters cannot be too long in bytes.
  return ($text, undef) if length($text) <= TEXT_MAX_BYTES / 4;
  my $bytes = $text;
  utf8::encode($bytes);
  my $total = length($bytes);
  return ($text, undef) if $total <= TEXT_MAX_BYTES;
  my $kept = substr($bytes, 0, TEXT_MAX_BYTES);

  # A character that was cut in half is dropped.
  $kept =~ s/[\xc0-\xff][\x80-\xbf]*\z//
    unless substr($bytes, TEXT_MAX_BYTES, 1) =~ /[\x00-\x7f\xc0-\xff]/;
  utf8::decode($kept);
  return ($kept, $total);
}

# In ASCII, which every database and every character set can store.
sub encode_json_text {
  my ($value) = @_;
  my $text = eval { local $SIG{__DIE__} = 'DEFAULT'; _json()->encode($value) };
  return _whole_escapes(
    defined $text ? $text : _json()->encode(_well_formed($value)));
}

# Also what was stored before halves of pairs were replaced.
sub decode_json_text { return _json()->decode(_whole_escapes($_[0])); }

# JSON, with U+FFFD for each half of a surrogate pair, which can be encoded but
# not decoded again. Bugzilla's forms accept them.
sub _whole_escapes {
  my ($json) = @_;
  return $json unless index($json, '\ud') >= 0;
  $json
    =~ s/(\\ud[89ab]..\\ud[c-f]..|\\[^u])|\\ud[89a-f]../defined $1 ? $1 : '\ufffd'/ge;
  return $json;
}

# A copy with U+FFFD for bytes that are not UTF-8, which some databases return
# unchanged, and for numbers that are not characters.
sub _well_formed {
  my ($value) = @_;
  return {map { _well_formed($_) } %$value} if ref $value eq 'HASH';
  return [map { _well_formed($_) } @$value] if ref $value eq 'ARRAY';
  return $value                             if ref $value || !defined $value;

  # JSON encodes a number that was used as a string as a string.
  my $text = $value;
  if (!utf8::valid($text)) {
    require Encode;
    Encode::_utf8_off($text);
    return Encode::decode('UTF-8', $text);
  }
  return $text =~ s/[^\x{0}-\x{10ffff}]/\x{fffd}/g ? $text : $value;
}

# JSON::XS is required by Bugzilla and already loaded; JSON::PP takes 66 ms to
# load.
my $json;

sub _json {
  return $json ||= (
    eval { require JSON::XS; 1 }
    ? 'JSON::XS'
    : do { require JSON::PP; 'JSON::PP' }
  )->new->ascii;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Json - values as JSON has them
