# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::BugUrl;

use 5.10.1;
use strict;
use warnings;

sub of {
  my ($class, $url) = @_;
  my $is_local = $url =~ /\A[0-9]+\z/ || index($url, Bugzilla->params->{urlbase}) == 0;
  $url = Bugzilla::BugUrl::Bugzilla::Local->local_uri($url) if $url =~ /\A[0-9]+\z/;
  return bless {name => $url}, $is_local ? 'Bugzilla::BugUrl::Bugzilla::Local' : $class;
}

sub name { return $_[0]->{name}; }

package Bugzilla::BugUrl::Bugzilla::Local;

our @ISA = ('Bugzilla::BugUrl');

sub local_uri { return Bugzilla->params->{urlbase} . "show_bug.cgi?id=$_[1]"; }

sub bug_id { return $_[0]->name =~ /id=([0-9]+)/ ? $1 : undef; }

1;
