# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Times;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use POSIX ();

use base qw(Exporter);
our @EXPORT_OK = qw(database_time epoch time_text);

# Cached, because one update converts its own time and that of its bug
# repeatedly.
use constant KNOWN_TIMES => 50;
my %known_time;

sub epoch {
  my ($time) = @_;
  return defined $time ? _read_time($time)->{epoch} : undef;
}

sub time_text {
  my ($time) = @_;
  return defined $time ? _read_time($time)->{text} : undef;
}

# In the format of Bugzilla's own times.
sub database_time {
  my ($epoch) = @_;
  return POSIX::strftime('%Y-%m-%d %H:%M:%S', localtime($epoch));
}

# Databases return local times in several formats. Unlike Time::Local, mktime()
# never dies, and it always resolves an hour that occurs twice in the same way.
sub _read_time {
  my ($time) = @_;
  return $known_time{$time} if $known_time{$time};
  %known_time = ()          if keys %known_time >= KNOWN_TIMES;
  my ($year, $month, $day, $hour, $minute, $second)
    = $time =~ /\A(\d{4})\D(\d\d)\D(\d\d)(?:\D(\d\d)\D?(\d\d)(?:\D?(\d\d))?)?/;
  my $epoch;
  if ($month && $day) {
    my @clock = map { $_ || 0 } $second, $minute, $hour;
    $epoch = POSIX::mktime(@clock, $day, $month - 1, $year - 1900, 0, 0, -1);
  }
  return $known_time{$time} = {epoch => undef, text => undef}
    unless defined $epoch;
  my $text = POSIX::strftime('%Y-%m-%dT%H:%M:%S.000000Z', gmtime($epoch));
  return $known_time{$time} = {epoch => $epoch, text => $text};
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Times - times of the database and of events

=head1 DESCRIPTION

A database time is in the server's time zone. A value that is not a time becomes
undef.
