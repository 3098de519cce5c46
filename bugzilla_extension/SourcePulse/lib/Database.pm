# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Database;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Util qw(trick_taint);

use base qw(Exporter);
our @EXPORT_OK = qw(
  can_be_id execute execute_in handle now portions select_column select_in
  select_name select_row select_rows select_value with_handle
);

# Databases limit the placeholders of a statement; the old limit of SQLite is
# the lowest.
use constant IDS_AT_ONCE => 500;

# The widest column of ids. PostgreSQL refuses a statement with a larger number,
# and URLs may contain any.
use constant MAX_ID => 2_147_483_647;

# The handle of DBI while with_handle() runs.
our $handle;

# DBI's own handle, in the current transaction, if any.
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

sub select_value {
  my ($value) = select_row(@_);
  return $value;
}

# The name of a product, a component or a classification.
sub select_name {
  my ($table, $id) = @_;
  return select_value("SELECT name FROM $table WHERE id = ?", $id);
}

# All values of the first column.
sub select_column {
  my ($select, @values) = @_;
  return @{handle()->selectcol_arrayref($select, undef, @values)};
}

# All rows, each as a hash.
sub select_rows {
  my ($select, @values) = @_;
  return handle()->selectall_arrayref($select, {Slice => {}}, @values);
}

# All rows, each as a list, of a statement that ends with a column name.
sub select_in {
  my ($select, @ids) = @_;
  return [map { @{handle()->selectall_arrayref($select . _in($_), undef, @$_)} }
      portions(grep { can_be_id($_) } @ids)];
}

# Whether a row can have this number.
sub can_be_id { return $_[0] <= MAX_ID; }

# Placeholders are never part of the statement, so their values may be tainted.
sub execute {
  my ($statement, @values) = @_;
  trick_taint($_) foreach grep {defined} @values;
  return 0 + handle()->do($statement, undef, @values);
}

sub execute_in {
  my ($statement, @ids) = @_;
  my $count = 0;
  $count += execute($statement . _in($_), @$_) foreach portions(@ids);
  return $count;
}

sub _in { return ' IN (' . join(',', ('?') x @{$_[0]}) . ')'; }

# Lists of as many ids as a statement may have.
sub portions {
  my (@ids) = @_;
  my @portions;
  while (my @some = splice(@ids, 0, IDS_AT_ONCE)) { push(@portions, \@some) }
  return @portions;
}

# The time of the database, in the form in which it stores times.
sub now { return select_value('SELECT LOCALTIMESTAMP(0)'); }

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Database - statements on Bugzilla's open
connection
