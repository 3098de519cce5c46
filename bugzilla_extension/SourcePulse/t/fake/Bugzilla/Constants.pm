# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Constants;

use 5.10.1;
use strict;
use warnings;

use Cwd ();

use base qw(Exporter);

use constant {
  BUGZILLA_VERSION => '5.2-fake',

  ERROR_MODE_DIE     => 1,
  USAGE_MODE_CMDLINE => 2,

  CMT_NORMAL             => 0,
  CMT_DUPE_OF            => 1,
  CMT_HAS_DUPE           => 2,
  CMT_ATTACHMENT_CREATED => 5,
  CMT_ATTACHMENT_UPDATED => 6,

  FIELD_TYPE_FREETEXT      => 1,
  FIELD_TYPE_SINGLE_SELECT => 2,
  FIELD_TYPE_MULTI_SELECT  => 3,
  FIELD_TYPE_TEXTAREA      => 4,
  FIELD_TYPE_DATETIME      => 5,
  FIELD_TYPE_BUG_ID        => 6,
  FIELD_TYPE_BUG_URLS      => 7,
  FIELD_TYPE_DATE          => 9,
  FIELD_TYPE_INTEGER       => 10,
};

our @EXPORT = qw(
  BUGZILLA_VERSION ERROR_MODE_DIE USAGE_MODE_CMDLINE CMT_NORMAL CMT_DUPE_OF CMT_HAS_DUPE CMT_ATTACHMENT_CREATED
  CMT_ATTACHMENT_UPDATED FIELD_TYPE_FREETEXT FIELD_TYPE_SINGLE_SELECT FIELD_TYPE_MULTI_SELECT FIELD_TYPE_TEXTAREA
  FIELD_TYPE_DATETIME FIELD_TYPE_BUG_ID FIELD_TYPE_BUG_URLS FIELD_TYPE_DATE FIELD_TYPE_INTEGER bz_locations
);

my ($home) = Cwd::abs_path(__FILE__) =~ m{\A(.*)/Bugzilla/[^/]+\z}s;

sub bz_locations { return {datadir => "$home/data", extensionsdir => "$home/extensions", libpath => $home}; }

1;
