# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Hook;

use 5.10.1;
use strict;
use warnings;

# No eval: what dies in a hook dies in its caller.
sub process {
  my ($name, $args) = @_;
  foreach my $extension (@{Bugzilla->extensions}) {
    $extension->$name($args) if $extension->can($name);
  }
  return;
}

1;
