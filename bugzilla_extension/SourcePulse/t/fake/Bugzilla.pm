# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What the extension sees of a Bugzilla, over a real SQLite file. It imitates the order of hooks, the depth of transactions and the
# traps of Bugzilla 5.0 to 5.3; t/trace.t holds it to what real trees do.
package Bugzilla;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants;
use Bugzilla::DB;
use Bugzilla::Hook;
use Bugzilla::Things;
use Bugzilla::User;
use Bugzilla::Util;

use JSON::XS ();

my $cache = {};

sub request_cache { return $cache; }

sub params {
  return $cache->{params} ||= do {
    open(my $file, '<', bz_locations()->{datadir} . '/params.json') or die "no parameters: $!\n";
    local $/;
    my $text = <$file>;
    trick_taint($text);
    JSON::XS->new->decode($text);
  };
}

sub set_params {
  my ($class, %new) = @_;
  my $params = $class->params;
  @$params{keys %new} = values %new;
  my $path = bz_locations()->{datadir} . '/params.json';
  open(my $file, '>', "$path.new") or die "no parameters: $!\n";
  print {$file} JSON::XS->new->canonical->pretty->encode($params);
  close($file);
  my $now = $Bugzilla::DB::now_s;
  utime($now, $now, "$path.new") if defined $now;
  rename("$path.new", $path) or die "no parameters: $!\n";
  return;
}

sub localconfig { return {webservergroup => '', db_driver => 'sqlite', db_name => 'fake'}; }
sub dbh         { return $cache->{dbh} ||= Bugzilla::DB->open; }
sub user        { return $cache->{user} ||= Bugzilla::User->new; }
sub set_user    { $cache->{user} = $_[1]; return; }
sub error_mode { $cache->{error_mode} = $_[1] if defined $_[1]; return $cache->{error_mode} || ERROR_MODE_DIE; }
sub input_params { return $cache->{input_params} ||= {}; }
sub usage_mode { return USAGE_MODE_CMDLINE; }

sub active_custom_fields { return @{$cache->{custom_fields} ||= [Bugzilla::Field->custom]}; }

# Extensions are loaded in the order of their folders, once; each call returns new objects.
my @loaded;

sub extensions {
  return $cache->{extensions} ||= do {
    if (!@loaded) {
      foreach my $folder (sort glob(bz_locations()->{extensionsdir} . '/*')) {
        trick_taint($folder);
        next if -e "$folder/disabled" || !-e "$folder/Extension.pm";
        my ($name) = $folder =~ m{([^/]+)\z};
        unshift(@INC, sub {
          my ($self, $file) = @_;
          my ($rest) = $file =~ m{\ABugzilla/Extension/\Q$name\E/(.+)\z} or return;
          open(my $source, '<', "$folder/lib/$rest") or return;
          return $source;
        });
        require "$folder/Config.pm" if -e "$folder/Config.pm";
        require "$folder/Extension.pm";
        push(@loaded, "Bugzilla::Extension::$name");
      }
    }
    [map { $_->new } @loaded];
  };
}

sub _cleanup {
  $cache->{dbh}->bz_rollback_transaction if $cache->{dbh} && $cache->{dbh}->bz_in_transaction;
  %$cache = ();
  return;
}

# As soon as it is loaded, Bugzilla prints that it is down, and ends.
if (-e bz_locations()->{datadir} . '/params.json' && __PACKAGE__->params->{shutdownhtml}) {
  print "Bugzilla is down: " . __PACKAGE__->params->{shutdownhtml} . "\n";
  exit 0;
}

sub END { _cleanup(); }

1;
