# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Every file compiles alone, without a warning, in the Perl that Bugzilla 5.0 asks for; every one is documented.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use File::Find qw(find);
use IPC::Open3 qw(open3);
use Pod::Checker ();
use Test::More;

# Operators and functions that Perl 5.10.1 has not.
my %TOO_NEW = (
  'a modifier /r'       => qr{=~\s*s/[^/]*/[^/]*/[a-z]*r[a-z]*\b},
  'package NAME BLOCK'  => qr/^package\s+[\w:]+\s*\{/m,
  'postfix dereference' => qr/->[\@%]\*/,
  'a signature'         => qr/^sub\s+\w+\s*\(\s*[\$\@%]\w/m,
  'keys of a reference' => qr/\b(?:keys|values|each|push|shift)\s*\(?\s*\$\w+[^\[\{\w>,\)-]*\)?\s*;/,
);

my $world  = BzWorld->new;
my $folder = BzWorld::extension_folder();
my @files;
find({no_chdir => 1, wanted => sub { push(@files, $_) if /\.(?:pm|pl)\z/ && !m{/t/} }}, $folder);
cmp_ok(scalar @files, '>', 15, 'the files are found');

foreach my $file (sort @files) {
  my ($name) = $file =~ m{\A\Q$folder\E/(.+)\z};
  my @load = $name =~ m{\Alib/(.+)\.pm\z} ? "Bugzilla::Extension::SourcePulse::$1" : ();
  my $program = @load
    ? "require Bugzilla; Bugzilla->extensions; require $load[0]"
    : $name =~ /\.pl\z/ ? undef : 'require Bugzilla; Bugzilla->extensions';
  my @command = ($^X, '-w', '-I' . $world->home, '-I' . $world->home . '/lib', $program ? ('-e', $program) : ('-c', $file));
  my $pid = open3(my $in, my $out, undef, @command);
  close($in);
  my $output = join('', <$out>);
  waitpid($pid, 0);
  is($?, 0, "$name compiles") or diag($output);
  my @ours = grep {/SourcePulse/} split(/\n/, $output);
  is_deeply([grep { !/syntax OK/ } @ours], [], "$name has no warning");

  open(my $source, '<', $file) or die "$file: $!\n";
  my $text = do { local $/; <$source> };
  close($source);
  my ($code) = split(/^__END__$/m, $text);
  foreach my $what (sort grep { $TOO_NEW{$_} } keys %TOO_NEW) {
    unlike($code, $TOO_NEW{$what}, "$name without $what");
  }
  like($text, qr/^use 5\.10\.1;$/m, "$name requires the minimum Perl version");
  open(my $nowhere, '>', \my $complaints) or die;
  my $checker = Pod::Checker->new(-warnings => 1);
  $checker->parse_from_file($file, $nowhere);
  is($checker->num_errors, 0, "$name is documented") or diag($complaints);
}

done_testing();
