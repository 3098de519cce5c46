# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Health;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Error qw(ThrowUserError);

use Bugzilla::Extension::SourcePulse::Outbox;
use Bugzilla::Extension::SourcePulse::Params;

# A sidecar that runs takes a row within seconds.
use constant OVERDUE_SECONDS => 600;

sub problems {
  my $stats = Bugzilla::Extension::SourcePulse::Outbox::stats();
  my @problems;
  push(@problems, {problem => 'overdue', %$stats}) if ($stats->{oldest_s} || 0) > OVERDUE_SECONDS;
  push(@problems, {problem => 'buried',  %$stats}) if $stats->{buried};
  push(@problems, {problem => 'missed',  %$stats}) if $stats->{missed};
  return @problems;
}

sub show_page {
  my ($vars) = @_;
  Bugzilla->user->in_group('admin')
    || ThrowUserError('auth_failure', {group => 'admin', action => 'access', object => 'administrative_pages'});
  $vars->{sourcepulse} = {
    active      => Bugzilla::Extension::SourcePulse::Params::active(),
    restricted  => Bugzilla::Extension::SourcePulse::Params::restricted(),
    site_id     => Bugzilla::Extension::SourcePulse::Params::site_id(),
    last_reason => Bugzilla::Extension::SourcePulse::Outbox::last_reason(),
    last_missed => Bugzilla::Extension::SourcePulse::Outbox::last_missed(),
    %{Bugzilla::Extension::SourcePulse::Outbox::stats()},
  };
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Health - whether rows are taken, for the sanity check and the administrator's page

=head1 FUNCTIONS

C<problems> lists what an administrator should look at: C<overdue>, C<buried>, C<missed>. C<show_page VARS> fills F<page.cgi?id=sourcepulse.html>, for administrators
only.
