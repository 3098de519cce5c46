# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::MissedChanges;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Fcntl qw(O_APPEND O_CREAT O_NOFOLLOW O_WRONLY);

use Bugzilla::Constants qw(bz_locations);

use base qw(Exporter);
our @EXPORT_OK
  = qw(count_missed forget_missed last_missed missed_path note_missed);

use constant FILE_MAX_BYTES => 1024 * 1024;

sub missed_path { return bz_locations()->{datadir} . '/sourcepulse.missed'; }

# One short line, which makes the sidecar compare the whole history.
sub note_missed {
  my ($what, $reason) = @_;
  warn
    "SourcePulse: a change could not be queued; the next history scan will publish it ($what): $reason\n";
  _append(time() . " $what $reason\n")
    unless (-s missed_path() || 0) > FILE_MAX_BYTES;
  return;
}

# A sum, because JSON encodes the size of an empty list as a string.
sub count_missed {
  my @lines = _lines(missed_path());
  return @lines + 0;
}

sub last_missed {
  my @lines = _lines(missed_path());
  return $lines[-1];
}

# The first ones, which were found in the history. If a line is being written at
# this moment, the error log still has a copy.
sub forget_missed {
  my ($count) = @_;
  my $old = missed_path() . '.old';
  rename(missed_path(), $old) or return;
  my @lines = _lines($old);
  splice(@lines, 0, $count);
  _append(join('', @lines)) if @lines;
  unlink($old);
  return;
}

sub _lines {
  my ($path) = @_;
  open(my $file, '<', $path) or return;
  my @lines = <$file>;
  close($file);
  return @lines;
}

sub _append {
  my ($text) = @_;

  # A database may describe its errors in any language, and syswrite() dies of
  # characters that are not bytes.
  utf8::encode($text) if utf8::is_utf8($text);
  sysopen(my $file, missed_path(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW,
    0660)
    or return;
  syswrite($file, $text);
  close($file);
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::MissedChanges - the file of changes that could
not be queued
