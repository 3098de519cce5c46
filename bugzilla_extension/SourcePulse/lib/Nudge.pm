# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Nudge;

# Bugzilla 5.0 and 5.2 each look for the Perl that they ask for themselves.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Socket qw(AF_UNIX MSG_DONTWAIT SOCK_DGRAM sockaddr_un);

use Bugzilla::Constants qw(bz_locations);

use base qw(Exporter);
our @EXPORT_OK = qw(socket_path);

# The room for a path in a sockaddr_un.
use constant PATH_MAX_BYTES => 107;

# Bugzilla puts its folders together each time, which takes longer than to
# send.
my %path;

# Sites that share one installation have a folder each, named by this variable.
sub socket_path {
  my $project = defined $ENV{PROJECT} ? $ENV{PROJECT} : '';
  return $path{$project} ||= bz_locations()->{datadir} . '/sourcepulse.sock';
}

# A hint and nothing more: a sidecar that does not listen, or has not kept up,
# finds the rows when it next looks.
sub send_one {
  local ($!, $?);
  local $@;
  eval {
    local $SIG{__DIE__} = 'DEFAULT';
    my $path = socket_path();
    return if length($path) > PATH_MAX_BYTES;

    # Bugzilla's folder comes from the path of its own modules, not from a
    # visitor.
    ($path) = $path =~ /\A(.*)\z/s;
    socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or return;
    send($socket, '1', MSG_DONTWAIT, sockaddr_un($path));
    close($socket);
  };
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Nudge - one datagram that tells the sidecar to
look

=head1 FUNCTIONS

=over

=item C<send_one>

Never waits, never fails, never tries again.

=item C<socket_path>

Where the sidecar listens, in Bugzilla's F<data/>.

=back
