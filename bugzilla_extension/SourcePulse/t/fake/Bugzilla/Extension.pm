# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension;

use 5.10.1;
use strict;
use warnings;

sub new { return bless {}, $_[0]; }

1;
