# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Status;

use 5.10.1;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT = qw(is_open_state);

sub is_open_state {
  my ($name) = @_;
  my ($is_open) = Bugzilla->dbh->selectrow_array('SELECT is_open FROM bug_status WHERE value = ?', undef, $name);
  return $is_open ? 1 : 0;
}

1;
