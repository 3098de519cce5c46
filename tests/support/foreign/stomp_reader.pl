#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
#
# A durable subscriber with Net::Stomp, by shared/docs/wire-format.md alone. Everything comes by the environment:
# BROKER (rabbitmq or activemq), HOST, PORT, VHOST, LOGIN, PASSWORD, EXCHANGE, QUEUE, PATTERN, STATE, and
# DIE_BEFORE_ACK, the number of a message before whose acknowledgement the program dies.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Net::Stomp;
use Seen;

my %env = %ENV;
my $rabbitmq = $env{BROKER} eq 'rabbitmq';
my $seen = Seen->new($env{STATE});
my $stomp = Net::Stomp->new({hostname => $env{HOST}, port => $env{PORT}, timeout => 60});
my $welcome = $stomp->connect({login => $env{LOGIN}, passcode => $env{PASSWORD}, host => $env{VHOST} || '/'});
die "not welcome\n" unless $welcome && $welcome->command eq 'CONNECTED';

(my $wildcards = $env{PATTERN}) =~ s/#$/>/;
$stomp->subscribe({
    id => 1, ack => 'client-individual', receipt => 'subscribed',
    $rabbitmq ? (
        destination => "/exchange/$env{EXCHANGE}/$env{PATTERN}", 'x-queue-name' => $env{QUEUE},
        durable => 'true', 'auto-delete' => 'false', exclusive => 'false', 'prefetch-count' => 10,
        'x-max-length' => 100_000, 'x-message-ttl' => 604_800_000, 'x-expires' => 1_209_600_000,
    ) : (
        destination => "/queue/Consumer.$env{QUEUE}.VirtualTopic.$env{EXCHANGE}.$wildcards",
        'activemq.prefetchSize' => 10,
    ),
});

my $count = 0;
while (my $frame = $stomp->receive_frame) {
    if ($frame->command eq 'MESSAGE') {
        my $headers = $frame->headers;
        my $key = $rabbitmq ? (split m{/}, $headers->{destination}, 4)[3] : $headers->{'routing-key'};
        $seen->handle($key, $frame->body);
        kill KILL => $$ if ++$count == ($env{DIE_BEFORE_ACK} || 0);
        $stomp->ack({frame => $frame});
    } elsif ($frame->command eq 'RECEIPT') {
        STDOUT->autoflush(1);
        print qq({"ready":true}\n);
    } else {
        die $frame->command, ': ', $frame->headers->{message} // '', "\n";
    }
}
