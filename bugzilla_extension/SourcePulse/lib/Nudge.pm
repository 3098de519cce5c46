# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Nudge;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Socket qw(AF_UNIX MSG_DONTWAIT SOCK_DGRAM sockaddr_un);

use Bugzilla::Constants qw(bz_locations);

use base qw(Exporter);
our @EXPORT_OK = qw(send_nudge socket_path);

# The longest path in a sockaddr_un.
use constant PATH_MAX_BYTES => 107;

# Cached, because Bugzilla computes its folders each time, which takes longer
# than sending.
my %path;

# One for the process, because it takes longer to make one than to send.
my $socket;

# Sites that share one installation each have a folder, named by this variable.
sub socket_path {
  my $project = defined $ENV{PROJECT} ? $ENV{PROJECT} : '';
  return $path{$project} ||= bz_locations()->{datadir} . '/sourcepulse.sock';
}

# Only a hint: a sidecar that is not listening or is busy finds the rows when it
# polls.
sub send_nudge {
  local ($!, $?);
  local $@;
  eval {
    local $SIG{__DIE__} = 'DEFAULT';
    my $path = socket_path();
    return if length($path) > PATH_MAX_BYTES;

    # Untainted, because Bugzilla's folder comes from the path of its own
    # modules, not from a visitor.
    ($path) = $path =~ /\A(.*)\z/s;
    $socket ||= _new_socket() or return;
    send($socket, '1', MSG_DONTWAIT, sockaddr_un($path));
  };
  return;
}

sub _new_socket {
  socket(my $new, AF_UNIX, SOCK_DGRAM, 0) or return undef;
  return $new;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Nudge - one datagram that makes the sidecar
poll
