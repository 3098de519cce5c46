# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Util;

use 5.10.1;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT = qw(trick_taint diff_arrays);

sub trick_taint {
  return undef unless defined $_[0];
  ($_[0]) = $_[0] =~ /\A(.*)\z/s;
  return 1;
}

# Items of the first list that the second has not, and the other way round.
sub diff_arrays {
  my ($old, $new) = @_;
  my %old = map { $_ => 1 } @$old;
  my %new = map { $_ => 1 } @$new;
  return ([grep { !$new{$_} } @$old], [grep { !$old{$_} } @$new]);
}

1;
