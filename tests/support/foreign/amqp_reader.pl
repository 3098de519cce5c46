#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
#
# A durable subscriber with AnyEvent::RabbitMQ, by shared/docs/wire-format.md alone. The environment is that of
# stomp_reader.pl, without BROKER.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use AnyEvent::RabbitMQ;
use Seen;

my %env = %ENV;
my $seen = Seen->new($env{STATE});
my $end = AnyEvent->condvar;
my $count = 0;
my $channel;

# Each step calls the next when the broker has agreed to it.
sub step {
    my ($method, $next, %arguments) = @_;
    $channel->$method(%arguments, on_success => $next, on_failure => sub { $end->croak("$method: refused\n") });
}

my $connection = AnyEvent::RabbitMQ->new->load_xml_spec;
$connection->connect(
    host => $env{HOST}, port => $env{PORT}, user => $env{LOGIN}, pass => $env{PASSWORD}, vhost => $env{VHOST},
    timeout => 10, tune => {heartbeat => 30},
    on_success => sub {
        $connection->open_channel(
            on_success => sub { $channel = shift; declare() },
            on_failure => sub { $end->croak("no channel\n") },
            on_close => sub { $end->croak("the channel was closed\n") },
        );
    },
    on_failure => sub { $end->croak("not welcome\n") },
    on_read_failure => sub { $end->croak("the connection broke\n") },
    on_close => sub { $end->croak("the connection was closed\n") },
);

sub declare {
    my %limits = (
        'x-max-length' => 100_000, 'x-overflow' => 'drop-head', 'x-message-ttl' => 604_800_000,
        'x-expires' => 1_209_600_000,
    );
    step(declare_queue => \&bind_it, queue => $env{QUEUE}, durable => 1, auto_delete => 0, arguments => \%limits);
}

sub bind_it {
    step(bind_queue => \&limit, queue => $env{QUEUE}, exchange => $env{EXCHANGE}, routing_key => $env{PATTERN});
}

sub limit { step(qos => \&consume, prefetch_count => 10) }

sub consume {
    my $ready = sub { STDOUT->autoflush(1); print qq({"ready":true}\n) };
    step(consume => $ready, queue => $env{QUEUE}, no_ack => 0, on_consume => \&handle);
}

sub handle {
    my $message = shift;
    my $deliver = $message->{deliver}->method_frame;
    $seen->handle($deliver->routing_key, $message->{body}->payload);
    kill KILL => $$ if ++$count == ($env{DIE_BEFORE_ACK} || 0);
    $channel->ack(delivery_tag => $deliver->delivery_tag);
}

$end->recv;
