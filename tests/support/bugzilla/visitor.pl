#!/usr/bin/perl -T
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Visits a real Bugzilla without logging in: `perl -T visitor.pl FOLDER` reads lines of JSON, {"script": "show_bug.cgi",
# "query": "id=7", "path": ""}, runs the script as a web server would, without cookies, and answers each with a line of JSON,
# {"page": "..."}. Modules are loaded once, and each visit is a process of its own.

use 5.10.1;
use strict;
use warnings;

my $folder;
BEGIN {
  ($folder) = $ARGV[0] =~ /\A(.+)\z/s;
  chdir($folder) or die "$folder: $!\n";
  %ENV = (PATH => '/usr/bin:/bin', GATEWAY_INTERFACE => 'CGI/1.1', SERVER_SOFTWARE => 'test', SERVER_NAME => '127.0.0.1',
    SERVER_PORT => '80', REMOTE_ADDR => '127.0.0.1', REQUEST_METHOD => 'GET', SCRIPT_NAME => '/show_bug.cgi', QUERY_STRING => '');
  $0 = 'show_bug.cgi';
  unshift(@INC, '.', 'lib', 'local/lib/perl5');
}

use JSON::XS ();
use Bugzilla;
use Bugzilla::Attachment;
use Bugzilla::Bug;
use Bugzilla::Constants;
use Bugzilla::Template;
use Bugzilla::WebService::Server::REST;

my $json = JSON::XS->new->ascii;
$| = 1;
Bugzilla::_cleanup();

while (defined(my $line = <STDIN>)) {
  my $visit = $json->decode($line);
  my ($script) = $visit->{script} =~ /\A([a-z_]+\.cgi)\z/ or die "no script\n";
  pipe(my $from, my $to) or die "no pipe: $!\n";
  my $child = fork;
  die "no process: $!\n" unless defined $child;
  if (!$child) {
    close($from);
    open(STDIN, '<', '/dev/null');
    open(STDOUT, '>&', $to);
    open(STDERR, '>', '/dev/null') unless $ENV{VISITOR_ERRORS};
    @ENV{qw(SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI HTTP_ACCEPT)}
      = ("/$script", $visit->{path} || '', $visit->{query} || '', "/$script", $script eq 'rest.cgi' ? 'application/json' : 'text/html');
    $0 = $script;
    @ARGV = ();
    %{Bugzilla->request_cache} = ();
    do "./$script";
    print STDERR $@ if $@;
    exit;
  }
  close($to);
  my $page = do { local $/; <$from> };
  waitpid($child, 0);
  print $json->encode({page => defined $page ? $page : ''}), "\n";
}
