# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Health;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Error qw(ThrowUserError);
use Bugzilla::Token qw(check_token_data delete_token issue_session_token);

use Bugzilla::Extension::SourcePulse::MissedChanges qw(last_missed);
use Bugzilla::Extension::SourcePulse::Params qw(active restricted site_id);
use Bugzilla::Extension::SourcePulse::Times  qw(database_time);
use Bugzilla::Extension::SourcePulse::WaitingRows
  qw(list_rows retry_rows stats);

use base qw(Exporter);
our @EXPORT_OK = qw(problems show_page);

# A running sidecar fetches a row within seconds.
use constant OVERDUE_SECONDS => 600;

use constant ROWS_SHOWN => 50;

# The action that the token of the page's form is issued for.
use constant RETRY_TOKEN => 'sourcepulse_retry';

# The value of the button that retries all buried rows; the values of the other
# buttons are row ids.
use constant ALL_ROWS => 'all';

sub problems {
  my ($stats) = @_;
  $stats ||= stats();
  my @names;
  push(@names, 'overdue') if ($stats->{oldest_s} || 0) > OVERDUE_SECONDS;
  push(@names, grep { $stats->{$_} } qw(buried missed));
  push(@names, 'silent') if defined $stats->{silent_since};
  my $since
    = defined $stats->{silent_since}
    ? database_time($stats->{silent_since})
    : undef;
  return map { { %$stats, problem => $_, since => $since } } @names;
}

sub show_page {
  my ($vars) = @_;
  Bugzilla->user->in_group('admin')
    || ThrowUserError('auth_failure',
    {group => 'admin', action => 'access', object => 'administrative_pages'});
  my $retried = _retry(Bugzilla->input_params);
  my $stats   = stats();
  $vars->{sourcepulse} = {
    %$stats,
    active      => active(),
    restricted  => restricted(),
    site_id     => site_id(),
    problems    => [problems($stats)],
    waiting     => list_rows(0, ROWS_SHOWN),
    buried_rows => list_rows(1, ROWS_SHOWN),
    last_missed => last_missed(),
    retried     => $retried,
    token       => scalar issue_session_token(RETRY_TOKEN),
  };
  return;
}

# Retries one buried row, or all, and returns how many; undef if that was not
# requested. An unknown row id does not mean all of them.
sub _retry {
  my ($input) = @_;
  return undef
    unless ($input->{action} || '') eq 'retry'
    && ($ENV{REQUEST_METHOD} || '') eq 'POST';
  check_token_data($input->{token}, RETRY_TOKEN);
  delete_token($input->{token});
  my $row = defined $input->{row} ? $input->{row} : '';
  return retry_rows() if $row eq ALL_ROWS;
  my ($id) = $row =~ /\A([1-9][0-9]{0,14})\z/;
  return $id ? retry_rows($id) : 0;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Health - whether rows are written and fetched,
for the sanity check and the administrators' page
