# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Object;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Hook;
use Bugzilla::Util;

use constant {ID_FIELD => 'id', NAME_FIELD => 'name', COLUMNS => '*', AUDIT_REMOVES => 1};
use constant UPDATE_COLUMNS => ();

sub new {
  my ($class, $param) = @_;
  my ($column, $value) = ($class->ID_FIELD, $param);
  if (ref $param) {
    ($column, $value) = exists $param->{id} ? ($class->ID_FIELD, $param->{id}) : ($class->NAME_FIELD, $param->{name});
  }
  my ($found) = $class->where("$column = ?", $value);
  return $found;
}

sub where {
  my ($class, $condition, @values) = @_;
  trick_taint($_) foreach @values;
  my $rows = Bugzilla->dbh->selectall_arrayref(
    'SELECT ' . $class->COLUMNS . ' FROM "' . $class->DB_TABLE . "\" WHERE $condition ORDER BY " . $class->ID_FIELD,
    {Slice => {}}, @values);
  return map { bless $_, $class } @$rows;
}

sub new_from_list {
  my ($class, $ids) = @_;
  return [map { $class->new($_) || () } @$ids];
}

sub id   { return $_[0]->{$_[0]->ID_FIELD}; }
sub name { return $_[0]->{$_[0]->NAME_FIELD}; }

# The beginning of every create(), its columns and what is not one of them.
sub begin_create {
  my ($class, $params) = @_;
  Bugzilla::Hook::process('object_before_create', {class => $class, params => $params});
  Bugzilla::Hook::process('object_end_of_create_validators', {class => $class, params => $params});
  return;
}

sub insert_create_data {
  my ($class, $values) = @_;
  my @names = sort keys %$values;
  my @values = @$values{@names};
  trick_taint($_) foreach @values;
  my $dbh = Bugzilla->dbh;
  $dbh->do('INSERT INTO "' . $class->DB_TABLE . '" (' . join(', ', @names) . ') VALUES (' . join(', ', ('?') x @names) . ')',
    undef, @values);
  my $object = $class->new($dbh->bz_last_key($class->DB_TABLE, $class->ID_FIELD));
  Bugzilla::Hook::process('object_end_of_create', {class => $class, object => $object});
  return $object;
}

sub update {
  my ($self) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  my $old = (ref $self)->new($self->id);
  my %changes;
  foreach my $column ($self->UPDATE_COLUMNS) {
    my ($from, $to) = ($old->{$column}, $self->{$column});
    next if (defined $from ? $from : "\0") eq (defined $to ? $to : "\0");
    trick_taint($to);
    $dbh->do('UPDATE "' . $self->DB_TABLE . "\" SET $column = ? WHERE " . $self->ID_FIELD . ' = ?', undef, $to, $self->id);
    $changes{$column} = [$from, $self->{$column}];
  }
  Bugzilla::Hook::process('object_end_of_update', {object => $self, old_object => $old, changes => \%changes});
  $dbh->bz_commit_transaction;
  return wantarray ? (\%changes, $old) : \%changes;
}

sub remove_from_db {
  my ($self) = @_;
  Bugzilla::Hook::process('object_before_delete', {object => $self});
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  $dbh->do('INSERT INTO audit_log (user_id, class, object_id, field, removed, added, at_time)
      VALUES (?, ?, ?, ?, ?, ?, LOCALTIMESTAMP(0))', undef, Bugzilla->user->id || undef, ref $self, $self->id, '__remove__',
    $self->name, undef) if $self->AUDIT_REMOVES;
  $dbh->do('DELETE FROM "' . $self->DB_TABLE . '" WHERE ' . $self->ID_FIELD . ' = ?', undef, $self->id);
  $dbh->bz_commit_transaction;
  return;
}

1;
