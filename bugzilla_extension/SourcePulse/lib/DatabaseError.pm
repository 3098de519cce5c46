# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::DatabaseError;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use DBI ();

use base qw(Exporter);
our @EXPORT_OK = qw(is_fatal reason_of);

use constant REASON_MAX_CHARS => 120;

# The classes of SQLSTATE, and the error numbers of drivers without SQLSTATE,
# that end the whole transaction, or would have ended it without us: deadlocks,
# lock timeouts, lost connections, full disks.
my $FATAL_STATE  = qr/\A(?:08|40|53|57|58|55P03|XX)/;
my %FATAL_NUMBER = (
  mysql => [qw(1021 1053 1114 1205 1213 1614 2002 2003 2006 2013 2055 3098 4031)],
  sqlite => [qw(5 6 8 10 11 13 14 26)],
);

# Whether a database error ends more than its statement.
sub is_fatal {
  my ($dbh,    $error) = @_;
  my ($number, $state) = ($DBI::err, $DBI::state);

  # The text shows whether DBI's last error is this one.
  return 0
    unless $number && defined $DBI::errstr && index("$error", $DBI::errstr) >= 0;
  return 1 if $state && $state =~ $FATAL_STATE && $state ne 'S1000';
  my $driver = lc(eval { $dbh->{Driver}->{Name} } || ref $dbh);
  my @fatal
    = $driver =~ /sqlite/        ? @{$FATAL_NUMBER{sqlite}}
    : $driver =~ /mysql|mariadb/ ? @{$FATAL_NUMBER{mysql}}
    :                              ();
  $number &= 0xff if $driver =~ /sqlite/;
  return (grep { $_ == $number } @fatal) ? 1 : 0;
}

# The first line is the message; later lines could contain values.
sub reason_of {
  my ($error) = @_;
  my ($line)  = split(/\n/, ref $error ? ref $error : "$error");
  $line = defined $line ? $line : 'unknown';
  $line =~ s/ \[for Statement.*//s;
  $line =~ s/"[^"]*"|'[^']*'/.../g;
  return substr($line, 0, REASON_MAX_CHARS);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::DatabaseError - what an error of the database
means
