# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Health;

use 5.10.1;
use strict;
use warnings;

use POSIX qw(strftime);

use Bugzilla::Error qw(ThrowUserError);
use Bugzilla::Token qw(check_token_data delete_token issue_session_token);

use Bugzilla::Extension::SourcePulse::Outbox
  qw(last_missed list_rows retry_rows stats);
use Bugzilla::Extension::SourcePulse::Params;

# A sidecar that runs reads a row within seconds.
use constant OVERDUE_SECONDS => 600;

use constant ROWS_SHOWN => 50;

# What the form of the page is protected with.
use constant RETRY_TOKEN => 'sourcepulse_retry';

sub problems {
  my $stats = stats();
  my @problems;
  push(@problems, {problem => 'overdue', %$stats}) if ($stats->{oldest_s} || 0) > OVERDUE_SECONDS;
  push(@problems, {problem => 'buried',  %$stats}) if $stats->{buried};
  push(@problems, {problem => 'missed',  %$stats}) if $stats->{missed};
  push(@problems, {problem => 'silent', %$stats, since => _time_here($stats->{silent_since})})
    if defined $stats->{silent_since};
  return @problems;
}

sub show_page {
  my ($vars) = @_;
  Bugzilla->user->in_group('admin')
    || ThrowUserError('auth_failure',
    {group => 'admin', action => 'access', object => 'administrative_pages'});
  my $input   = Bugzilla->input_params;
  my $retried = ($input->{action} || '') eq 'retry' ? _retry($input) : undef;
  my $stats   = stats();
  $vars->{sourcepulse} = {
    %$stats,
    active      => Bugzilla::Extension::SourcePulse::Params::active(),
    restricted  => Bugzilla::Extension::SourcePulse::Params::restricted(),
    site_id     => Bugzilla::Extension::SourcePulse::Params::site_id(),
    waiting     => list_rows(0, ROWS_SHOWN),
    buried_rows => list_rows(1, ROWS_SHOWN),
    last_missed => last_missed(),
    silent      => _time_here($stats->{silent_since}),
    retried     => $retried,
    token       => issue_session_token(RETRY_TOKEN),
  };
  return;
}

# How many buried rows wait again: one, or all.
sub _retry {
  my ($input) = @_;
  check_token_data($input->{token}, RETRY_TOKEN);
  delete_token($input->{token});
  my ($id) = ($input->{row} || '') =~ /\A([1-9][0-9]{0,14})\z/;
  return retry_rows($id);
}

sub _time_here {
  my ($epoch) = @_;
  return defined $epoch ? strftime('%Y-%m-%d %H:%M:%S', localtime($epoch)) : undef;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Health - whether rows are taken, for the sanity check and the administrator's page

=head1 FUNCTIONS

C<problems> lists what an administrator should look at: C<overdue>, C<buried>, C<missed>, C<silent>. C<show_page VARS> fills F<page.cgi?id=sourcepulse.html>, for
administrators only, and has buried rows tried again when its form is sent.
