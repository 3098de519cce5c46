#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Cwd qw(abs_path);

my $folder = $ARGV[0];
if (@ARGV != 1 || $folder =~ /\A-/) {
  print STDERR "usage: drain.pl BUGZILLA_FOLDER\n";
  exit 2;
}
my $home = abs_path($folder);
if (!defined $home || !-e "$home/Bugzilla.pm" || !chdir($home)) {
  print STDERR
    "drain.pl: $folder is not the folder of a Bugzilla: there is no Bugzilla.pm in it\n";
  exit 2;
}
unshift(@INC, $home, "$home/lib", "$home/local/lib/perl5");

# Output of Bugzilla must not be mixed with the answers.
open(my $answers, '>&', \*STDOUT)
  or die "drain.pl: standard output cannot be used: $!\n";
open(STDOUT, '>&', \*STDERR)
  or die "drain.pl: standard output cannot be moved: $!\n";
$answers->autoflush(1) if $answers->can('autoflush') || require IO::Handle;

# During maintenance, Bugzilla prints a text and ends the process as soon as it
# is loaded.
my $is_loading = 1;

END {
  print {$answers}
    qq({"ok": false, "code": "paused", "error": "Bugzilla is down for maintenance"}\n)
    if $is_loading && !$?;
}
my $loaded = eval {
  require Bugzilla;
  Bugzilla->extensions;
  require Bugzilla::Extension::SourcePulse::Requests;
  1;
};
if (!$loaded) {
  my ($line) = split(/\n/, "$@");
  $is_loading = 0;
  print STDERR "drain.pl: $line\n";
  print STDERR
    "drain.pl: link the extension into $home/extensions/ under the name SourcePulse, run checksetup.pl, and make "
    . "sure that this is the Perl that runs Bugzilla\n";
  exit 3;
}
$is_loading = 0;

Bugzilla::Extension::SourcePulse::Requests->new(\*STDIN, $answers)->run;

__END__

=head1 NAME

drain.pl - passes the rows of the outbox table to the sidecar

=head1 SYNOPSIS

  perl bin/drain.pl BUGZILLA_FOLDER

=head1 DESCRIPTION

Reads requests, one JSON object a line, on standard input and answers each on
standard output; F<PROTOCOL.md> describes them. It is started by
C<sourcepulse bugzilla-sidecar>, not by hand.

The exit code is 2 if the folder is not a Bugzilla, 3 if Bugzilla or the
extension cannot be loaded.
