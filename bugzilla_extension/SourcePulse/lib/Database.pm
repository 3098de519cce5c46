# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Database;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT_OK = qw(handle now select_in select_row with_handle);

# Databases limit the placeholders of a statement; the old limit of SQLite is
# the lowest.
use constant IDS_AT_ONCE => 500;

# The handle of DBI while with_handle() runs.
our $handle;

sub handle {
  return $handle if $handle;
  my $dbh = Bugzilla->dbh;
  return $dbh->isa('DBI::db') ? $dbh : $dbh->dbh;
}

# From Bugzilla 5.2 on, a wrapper pings the database before each statement,
# which is not needed within a transaction.
sub with_handle {
  my ($work) = @_;
  my $dbh = Bugzilla->dbh;
  if (!$dbh->isa('DBI::db') && $dbh->can('connector')) {
    return $dbh->connector->run(
      no_ping => sub { local $handle = $_[0]; return $work->($handle) });
  }
  local $handle = handle();
  return $work->($handle);
}

# A statement that every update needs is prepared once per connection.
sub select_row {
  my ($select, @values) = @_;
  return handle()
    ->selectrow_array(handle()->prepare_cached($select), undef, @values);
}

# The time of the database, in the form in which it stores times.
sub now {
  my ($now) = handle()->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  return $now;
}

sub select_in {
  my ($select, @ids) = @_;
  my $handle = handle();
  my @rows;
  while (my @some = splice(@ids, 0, IDS_AT_ONCE)) {
    my $marks = join(',', ('?') x @some);
    push(@rows,
      @{$handle->selectall_arrayref("$select IN ($marks)", undef, @some)});
  }
  return \@rows;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Database - statements on Bugzilla's open
connection

=head1 FUNCTIONS

=over

=item C<handle>

DBI's own handle, in the current transaction, if any.

=item C<with_handle WORK>

Runs WORK with the handle, which C<handle> then returns at no cost.

=item C<now>

The time of the database.

=item C<select_row SELECT, VALUES>

One row of a statement that stays prepared.

=item C<select_in SELECT, IDS>

All rows of a statement that ends with a column name, for any number of ids.

=back
