# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
#
# What a subscriber remembers, by the rules of shared/docs/wire-format.md: the ids that it handled, and the last number
# of each source and epoch. One line of a file for each event, so that a restart knows them again.
package Seen;
use strict;
use warnings;
use IO::Handle;
use JSON::PP qw(decode_json encode_json);

sub new {
    my ($class, $path) = @_;
    my $self = bless {ids => {}, last => {}}, $class;
    if (open my $old, '<', $path) {
        while (<$old>) { chomp; $self->_remember(split / /, $_, 4) }
    }
    open $self->{file}, '>>', $path or die "$path: $!";
    $self->{file}->autoflush(1);
    return $self;
}

# Handle one message: print what it is, and remember it. The caller acknowledges afterwards.
sub handle {
    my ($self, $key, $body) = @_;
    my $event = decode_json($body);
    my $fact = {id => $event->{id}};
    if ($self->{ids}{$event->{id}}) {
        $fact->{repeat} = JSON::PP::true;
    } else {
        # 20 digits with leading zeros; a heartbeat has none, and a replay stands outside the order.
        my $number = $event->{replayed} || !defined $event->{sequence} ? 0 : 0 + $event->{sequence};
        my $last = $self->{last}{"$event->{source} " . ($event->{epoch} // '')};
        $fact = {%$fact, key => $key, type => $event->{type}, sequence => $number};
        $fact->{lost} = $number - $last - 1 if $number && defined $last && $number > $last + 1;
        my @line = ($event->{id}, $number, $event->{epoch} // '-', $event->{source});
        print {$self->{file}} "@line\n";
        $self->_remember(@line);
    }
    STDOUT->autoflush(1);
    print encode_json($fact), "\n";
}

sub _remember {
    my ($self, $id, $number, $epoch, $source) = @_;
    $self->{ids}{$id} = 1;
    my $last = \$self->{last}{"$source $epoch"};
    $$last = $number if $number && $number > ($$last // 0);
}

1;
