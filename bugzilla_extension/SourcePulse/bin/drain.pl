#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Bugzilla 5.0 and 5.2 each look for the Perl that they ask for themselves.
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

# What Bugzilla prints must not come between the answers.
open(my $answers, '>&', \*STDOUT)
  or die "drain.pl: standard output cannot be used: $!\n";
open(STDOUT, '>&', \*STDERR)
  or die "drain.pl: standard output cannot be moved: $!\n";
$answers->autoflush(1) if $answers->can('autoflush') || require IO::Handle;

# While it is down for maintenance Bugzilla prints a text and ends the process
# as soon as it is loaded.
my $is_loading = 1;

END {
  print {$answers}
    qq({"ok": false, "code": "paused", "error": "Bugzilla is down for maintenance"}\n)
    if $is_loading && !$?;
}
my $loaded = eval {
  require Bugzilla;
  Bugzilla->extensions;
  require Bugzilla::Extension::SourcePulse::Drain;
  1;
};
if (!$loaded) {
  my ($line) = split(/\n/, "$@");
  $is_loading = 0;
  print STDERR "drain.pl: $line\n";
  print STDERR
    "drain.pl: link the extension into $home/extensions/ under the name SourcePulse, run checksetup.pl, and see "
    . "that this is the Perl that runs Bugzilla\n";
  exit 3;
}
$is_loading = 0;

Bugzilla::Extension::SourcePulse::Drain->new(\*STDIN, $answers)->run;

__END__

=head1 NAME

drain.pl - gives the rows of the outbox table to the sidecar

=head1 SYNOPSIS

  perl bin/drain.pl BUGZILLA_FOLDER

=head1 DESCRIPTION

Reads requests, one JSON object a line, on standard input and answers each on
standard output; F<PROTOCOL.md> has them. It is not started by hand:
C<sourcepulse bugzilla-sidecar> does.

It ends with 2 if the folder is no Bugzilla, with 3 if Bugzilla or the extension
cannot be loaded.
