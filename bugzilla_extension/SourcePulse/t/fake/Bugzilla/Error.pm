# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Error;

use 5.10.1;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT = qw(ThrowUserError ThrowCodeError);

# Rolls back, unless the caller catches it.
sub ThrowUserError {
  my ($name) = @_;
  my $depth = 0;
  my $is_in_eval = 0;
  while (my @frame = caller($depth++)) { $is_in_eval ||= $frame[3] eq '(eval)' }
  my $dbh = Bugzilla->request_cache->{dbh};
  $dbh->bz_rollback_transaction if $dbh && $dbh->bz_in_transaction && !$is_in_eval;
  die "$name\n";
}

sub ThrowCodeError { goto &ThrowUserError; }

1;
