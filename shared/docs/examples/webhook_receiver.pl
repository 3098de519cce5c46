#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# A receiver of webhooks with nothing but Perl: it verifies each one, and prints each event once.
# perl webhook_receiver.pl SECRETS PORT, where SECRETS is a file with a whsec_... a line, which may change meanwhile.

use 5.14.0;
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use IO::Socket::INET;
use JSON::PP qw(decode_json);
use MIME::Base64 qw(decode_base64 encode_base64);

my $BODY_MAX_BYTES    = 1024 * 1024;
my $HEAD_MAX_BYTES    = 65_536;
my $READ_SECONDS      = 10;
# A signature of long ago may be a copy that somebody sends again.
my $TOLERANCE_SECONDS = 300;

my ($secrets, $port) = @ARGV;
my $seen = "$secrets.seen";
-d $seen or mkdir($seen, 0700) or die "$seen: $!\n";
$| = 1;
$SIG{PIPE} = 'IGNORE';

# Standard Webhooks 1.0.0. Two texts are compared by codes of them, so that the time taken says nothing.
sub is_signed {
  my ($header, $body) = @_;
  my ($id, $sent_at, $theirs) = map { $header->{"webhook-$_"} // '' } qw(id timestamp signature);
  return 0 unless $sent_at =~ /\A[0-9]{1,12}\z/ && abs(time - $sent_at) <= $TOLERANCE_SECONDS;
  open(my $file, '<', $secrets) or die "$secrets: $!\n";
  foreach my $secret (map { split } <$file>) {
    my $key = decode_base64($secret =~ s/\Awhsec_//r);
    my $mine = 'v1,' . encode_base64(hmac_sha256("$id.$sent_at.$body", $key), '');
    return 1 if grep { hmac_sha256($_, $key) eq hmac_sha256($mine, $key) } split(' ', $theirs);
  }
  return 0;
}

# Do what the event is for, and return whether that is done; die if the event cannot be used.
sub handle {
  my ($event) = @_;
  say join(' ', map { $event->{$_} // die "it has no $_\n" } qw(type source id));
  return 1;
}

sub read_request {
  my ($client) = @_;
  local $SIG{ALRM} = sub { die "slow\n" };
  alarm $READ_SECONDS;
  my ($head, $body) = ('', '');
  while ($head !~ /\r\n\r\n/) {
    return if length $head > $HEAD_MAX_BYTES || !sysread($client, $head, 4096, length $head);
  }
  ($head, $body) = split(/\r\n\r\n/, $head, 2);
  my ($first, @lines) = split(/\r\n/, $head);
  my %header = map { /\A([^:]+):\s*(.*?)\s*\z/ ? (lc $1 => $2) : () } @lines;
  my $length = $header{'content-length'} // '';
  return ($first, \%header, undef) unless $length =~ /\A[0-9]{1,9}\z/ && $length <= $BODY_MAX_BYTES;
  while (length $body < $length) {
    return unless sysread($client, $body, $length - length $body, length $body);
  }
  alarm 0;
  return ($first, \%header, $body);
}

sub answer_to {
  my ($first, $header, $body) = @_;
  return '405 Method Not Allowed' unless $first =~ /\APOST /;
  return '413 Content Too Large'  unless defined $body;
  return '401 Unauthorized'       unless is_signed($header, $body);
  my $id = 'id-' . ($header->{'webhook-id'} =~ s/[^\w-]/_/gr);
  return '204 No Content' if -e "$seen/$id";
  my $is_done = eval { handle(decode_json($body)) };
  return '422 Unprocessable Content' if $@;
  return '503 Service Unavailable' unless $is_done;
  # After the work: a crash between the two means that the event comes again.
  open(my $mark, '>', "$seen/$id") or return '500 Internal Server Error';
  return '204 No Content';
}

my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 16, ReuseAddr => 1)
  or die "port $port: $!\n";
while (1) {
  my $client = $server->accept or next;
  my @request = eval { read_request($client) };
  alarm 0;
  next unless @request;
  my $answer = eval { answer_to(@request) } // '500 Internal Server Error';
  syswrite($client, "HTTP/1.1 $answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
