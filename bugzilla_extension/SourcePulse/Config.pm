# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse;

# In every file, because Bugzilla 5.0 and 5.2 each require the line with their own
# minimum Perl version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use constant NAME => 'SourcePulse';

# Everything that the extension needs comes with Perl or is required by
# Bugzilla.
use constant REQUIRED_MODULES => [];
use constant OPTIONAL_MODULES => [];

__PACKAGE__->NAME;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse - publishes every change of a bug, in the
transaction that makes it

=head1 DESCRIPTION

Link this folder into F<extensions/> and run F<checksetup.pl>;
L<Bugzilla::Extension::SourcePulse> in F<Extension.pm> has the hooks.
