# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What the object of a bug reads on demand, once.
package Bugzilla::BugParts;

use 5.10.1;
use strict;
use warnings;

sub _read {
  my ($self, $name, $make) = @_;
  $self->{$name} = $make->() unless exists $self->{$name};
  return $self->{$name};
}

sub _column {
  my ($self, $select) = @_;
  return Bugzilla->dbh->selectcol_arrayref($select, undef, $self->id);
}

sub product_obj   { my ($s) = @_; return $s->_read('product_obj',   sub { Bugzilla::Product->new($s->{product_id}) }); }
sub component_obj { my ($s) = @_; return $s->_read('component_obj', sub { Bugzilla::Component->new($s->{component_id}) }); }
sub comments      { my ($s) = @_; return $s->_read('comments', sub { [Bugzilla::Comment->where('bug_id = ?', $s->id)] }); }
sub flags         { my ($s) = @_; return $s->_read('flags', sub { [Bugzilla::Flag->where('bug_id = ? AND attach_id IS NULL', $s->id)] }); }
sub alias         { my ($s) = @_; return $s->_read('alias', sub { $s->_column('SELECT alias FROM bugs_aliases WHERE bug_id = ?') }); }
sub dependson { my ($s) = @_; return $s->_read('dependson', sub { $s->_column('SELECT dependson FROM dependencies WHERE blocked = ?') }); }
sub blocked { my ($s) = @_; return $s->_read('blocked', sub { $s->_column('SELECT blocked FROM dependencies WHERE dependson = ?') }); }

sub cc_users {
  my ($self) = @_;
  return $self->_read('cc_users', sub { Bugzilla::User->new_from_list($self->_column('SELECT who FROM cc WHERE bug_id = ?')) });
}

sub keyword_objects {
  my ($self) = @_;
  return $self->_read('keyword_objects',
    sub { Bugzilla::Keyword->new_from_list($self->_column('SELECT keywordid FROM keywords WHERE bug_id = ?')) });
}

sub groups_in {
  my ($self) = @_;
  return $self->_read('groups_in',
    sub { Bugzilla::Group->new_from_list($self->_column('SELECT group_id FROM bug_group_map WHERE bug_id = ?')) });
}

sub see_also {
  my ($self) = @_;
  return $self->_read('see_also',
    sub { [map { Bugzilla::BugUrl->of($_) } @{$self->_column('SELECT value FROM bug_see_also WHERE bug_id = ?')}] });
}

sub dup_id {
  my ($self) = @_;
  return $self->_read('dup_id', sub {
    return undef if ($self->{resolution} || '') ne 'DUPLICATE';
    return $self->_column('SELECT dupe_of FROM duplicates WHERE dupe = ?')->[0];
  });
}

sub cf_multi {
  my ($self) = @_;
  return $self->_read('cf_multi', sub { $self->_column('SELECT value FROM bug_cf_multi WHERE bug_id = ? ORDER BY value') });
}

1;
