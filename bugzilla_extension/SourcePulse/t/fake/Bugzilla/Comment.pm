# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Comment;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::Object);

use constant {DB_TABLE => 'longdescs', ID_FIELD => 'comment_id', NAME_FIELD => 'comment_id'};
use constant UPDATE_COLUMNS => qw(isprivate);

sub is_private     { return $_[0]->{isprivate}; }
sub set_is_private { $_[0]->{isprivate} = $_[1] ? 1 : 0; return; }
sub body           { return $_[0]->{thetext}; }

1;
