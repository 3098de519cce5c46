# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Bug;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::BugParts Bugzilla::Object);

use Bugzilla::Attachment;
use Bugzilla::BugUrl::Bugzilla::Local;
use Bugzilla::Comment;
use Bugzilla::Constants;
use Bugzilla::Error;
use Bugzilla::Flag;
use Bugzilla::Hook;
use Bugzilla::Util;

use constant {DB_TABLE => 'bugs', ID_FIELD => 'bug_id', NAME_FIELD => 'bug_id', COLUMNS => '*, reporter AS reporter_id'};
use constant PLAIN => qw(
  assigned_to bug_file_loc bug_severity bug_status component_id everconfirmed op_sys priority product_id qa_contact
  rep_platform resolution short_desc status_whiteboard target_milestone version deadline estimated_time
);

# Lists of a bug: where they are, and what one of them is to those who change it.
my %LIST = (
  cc        => ['cc',           'who',      sub { Bugzilla::User->new({name => $_[0]})->id }],
  keywords  => ['keywords',     'keywordid', sub { Bugzilla::Keyword->new({name => $_[0]})->id }],
  alias     => ['bugs_aliases', 'alias',    sub { $_[0] }],
  see_also  => ['bug_see_also', 'value',    sub { Bugzilla::BugUrl->of($_[0])->name }],
  groups    => ['bug_group_map', 'group_id', sub { Bugzilla::Group->new({name => $_[0]})->id }],
);

sub new {
  my ($class, $id) = @_;
  my $self = $class->SUPER::new($id);
  delete $self->{reporter} if $self;
  return $self;
}

sub UPDATE_COLUMNS {
  return (PLAIN, map { $_->name } grep { $_->type != FIELD_TYPE_MULTI_SELECT } Bugzilla->active_custom_fields);
}

# -- made

sub create {
  my ($class, $params) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  my %given = %$params;
  $class->begin_create(\%given);
  my ($timestamp) = $dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  my $product   = Bugzilla::Product->new({name => delete $given{product}}) or ThrowUserError('product');
  my $component = _component($product, delete $given{component});
  my %lists     = map { $_ => delete $given{$_} || [] } keys %LIST, qw(dependson blocked);
  my %multi     = map { $_->name => delete $given{$_->name} || [] } _multi_fields();
  my $comment   = delete $given{comment};
  my %row = (
    bug_severity => 'normal', bug_status => 'CONFIRMED', op_sys => 'All', priority => '---', rep_platform => 'All',
    resolution   => '', version => 'unspecified', target_milestone => '---', everconfirmed => 1, bug_file_loc => '',
    status_whiteboard => '', assigned_to => Bugzilla->user->id, %given, product_id => $product->id, component_id => $component->id,
    reporter => Bugzilla->user->id, delta_ts => $timestamp,
  );
  Bugzilla::Hook::process('bug_end_of_create_validators', {params => \%row});
  # It must not be visible before its groups are there, so it has no time yet.
  my $self = $class->insert_create_data(\%row);
  my @groups = ((map { $_->id } $product->mandatory_groups), map { $LIST{groups}->[2]->($_) } @{$lists{groups}});
  $self->_add('groups', $_) foreach keys %{{map { $_ => 1 } @groups}};
  $dbh->do('UPDATE bugs SET creation_ts = ? WHERE bug_id = ?', undef, $timestamp, $self->id);
  $self->{creation_ts} = $timestamp;
  foreach my $name (qw(cc keywords)) { $self->_add($name, $LIST{$name}->[2]->($_)) foreach @{$lists{$name}} }
  $self->_link('dependson', $_, 1, $timestamp) foreach @{$lists{dependson}};
  $self->_link('blocked',   $_, 1, $timestamp) foreach @{$lists{blocked}};
  foreach my $name (keys %multi) { $self->_set_multi($name, $multi{$name}) }
  $self->_add('see_also', Bugzilla::BugUrl->of($_)->name) foreach @{$lists{see_also}};
  Bugzilla::Comment->insert_create_data(_comment_row($self, $comment, $timestamp));
  $self->_add('alias', $_) foreach @{$lists{alias}};
  Bugzilla::Hook::process('bug_end_of_create', {bug => $self, timestamp => $timestamp});
  $dbh->bz_commit_transaction;
  return $self;
}

# -- changed

sub set_all {
  my ($self, $params) = @_;
  my %given = %$params;
  if (exists $given{product}) {
    my $product = Bugzilla::Product->new({name => $given{product}}) or ThrowUserError('product');
    if ($product->id != $self->{product_id}) {
      $self->{_moved} = 1;
      $self->{product_id} = $product->id;
      delete $self->{product_obj};
      my %in = map { $_->id => 1 } @{$self->groups_in};
      push(@{$self->groups_in}, grep { !$in{$_->id} } $product->mandatory_groups);
    }
  }
  if (exists $given{component}) {
    my $component = _component($self->product_obj, $given{component});
    $self->{_moved} = 1 if $component->id != $self->{component_id};
    $self->{component_id} = $component->id;
    delete $self->{component_obj};
  }
  delete @given{qw(product component)};
  if (my $comment = delete $given{comment}) {
    push(@{$self->{added_comments}}, {thetext => $comment->{body}, isprivate => $comment->{is_private} ? 1 : 0})
      if defined $comment->{body} && $comment->{body} ne '';
  }
  foreach my $name (keys %LIST, qw(dependson blocked)) {
    my $change = delete $given{$name} or next;
    $self->_change_list($name, $change);
  }
  if (my $target = delete $given{dup_id}) {
    @$self{qw(dup_id bug_status resolution)} = ($target, 'RESOLVED', 'DUPLICATE');
    my $other = Bugzilla::Bug->new($target) or ThrowUserError('dup');
    push(@{$other->{added_comments}}, {thetext => '', type => CMT_HAS_DUPE, extra_data => $self->id, isprivate => 0});
    $self->{_dup_for_update} = $other;
    push(@{$self->{added_comments}}, {thetext => '', type => CMT_DUPE_OF, extra_data => $target, isprivate => 0});
  }
  foreach my $name (qw(assigned_to qa_contact)) {
    $given{$name} = Bugzilla::User->new({name => $given{$name}})->id if $given{$name};
  }
  if (exists $given{bug_status} && $given{bug_status} ne 'RESOLVED') {
    $given{resolution} = '';
    $self->{dup_id} = undef;
  }
  foreach my $field (_multi_fields()) {
    my $name = $field->name;
    $self->{$name} = delete $given{$name} if exists $given{$name};
  }
  $self->{$_} = $given{$_} foreach keys %given;
  return;
}

sub update {
  my ($self, $timestamp) = @_;
  my $dbh  = Bugzilla->dbh;
  my $user = Bugzilla->user;
  ($timestamp) = $dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)') unless $timestamp;
  $dbh->bz_start_transaction;
  my ($changes, $old) = $self->SUPER::update;
  Bugzilla::Hook::process('bug_start_of_update', {timestamp => $timestamp, bug => $self, old_bug => $old, changes => $changes});
  foreach my $part (qw(product component)) {
    my $change = delete $changes->{"${part}_id"} or next;
    my $object = "${part}_obj";
    $changes->{$part} = [$old->$object->name, $self->$object->name];
  }
  foreach my $role (qw(assigned_to qa_contact)) {
    my $change = $changes->{$role} or next;
    $changes->{$role} = [map { $_ ? Bugzilla::User->new($_)->login : $_ } @$change];
  }
  $self->_store_list($old, $changes, 'cc',       'cc_users',        sub { $_[0]->login }, sub { $_[0]->id });
  $self->_store_list($old, $changes, 'alias',    'alias',           sub { $_[0] },        sub { $_[0] });
  $self->_store_list($old, $changes, 'keywords', 'keyword_objects', sub { $_[0]->name },  sub { $_[0]->id });
  foreach my $type (qw(dependson blocked)) {
    my ($removed, $added) = diff_arrays($old->$type, $self->$type);
    $self->_link($type, $_, 0, $timestamp) foreach @$removed;
    $self->_link($type, $_, 1, $timestamp) foreach @$added;
    $changes->{$type} = [join(', ', @$removed), join(', ', @$added)] if @$removed || @$added;
  }
  $self->_store_list($old, $changes, 'groups', 'groups_in', sub { $_[0]->name }, sub { $_[0]->id });
  $changes->{bug_group} = delete $changes->{groups} if $changes->{groups};
  foreach my $comment (@{$self->{added_comments} || []}) {
    $comment = Bugzilla::Comment->insert_create_data(_comment_row($self, $comment, $timestamp));
  }
  foreach my $comment (@{$self->{comment_isprivate} || []}) {
    $comment->update;
    my ($from, $to) = $comment->is_private ? (0, 1) : (1, 0);
    LogActivityEntry($self->id, 'longdescs.isprivate', $from, $to, $user->id, $timestamp, $comment->id);
  }
  delete $self->{comments};
  foreach my $field (_multi_fields()) {
    my $name = $field->name;
    my ($removed, $added) = diff_arrays($old->$name, $self->$name);
    next unless @$removed || @$added;
    $changes->{$name} = [join(', ', @$removed), join(', ', @$added)];
    $self->_set_multi($name, $self->$name);
  }
  $self->_store_list($old, $changes, 'see_also', 'see_also', sub { $_[0]->name }, sub { $_[0]->name });
  my ($removed, $added) = Bugzilla::Flag->update_flags($self, $old, $timestamp);
  $changes->{'flagtypes.name'} = [$removed, $added] if $removed || $added;
  # The bug at the other end of a link is updated inside this update.
  $_->update foreach @{delete $self->{_update_ref_bugs} || []};
  foreach my $field (sort keys %$changes) {
    LogActivityEntry($self->id, $field, (map { defined $_ ? $_ : '' } @{$changes->{$field}}), $user->id, $timestamp);
  }
  my ($old_dup, $new_dup) = map { $_->dup_id || 0 } $old, $self;
  if ($old_dup != $new_dup) {
    $dbh->do('DELETE FROM duplicates WHERE dupe = ?', undef, $self->id);
    $dbh->do('INSERT INTO duplicates (dupe, dupe_of) VALUES (?, ?)', undef, $self->id, $new_dup) if $new_dup;
    my $other = delete $self->{_dup_for_update};
    $other->update if $other;
    $changes->{dup_id} = [$old_dup || undef, $new_dup || undef];
  }
  Bugzilla::Hook::process('bug_end_of_update', {bug => $self, timestamp => $timestamp, changes => $changes, old_bug => $old});
  if (%$changes || $self->{added_comments} || $self->{comment_isprivate}) {
    $dbh->do('UPDATE bugs SET delta_ts = ? WHERE bug_id = ?', undef, $timestamp, $self->id);
    $self->{delta_ts} = $timestamp;
  }
  $dbh->bz_commit_transaction;
  delete $self->{_moved};
  return $changes;
}

sub set_comment_is_private {
  my ($self, $wanted) = @_;
  foreach my $comment (@{$self->comments}) {
    next unless exists $wanted->{$comment->id};
    next if !!$wanted->{$comment->id} == !!$comment->is_private;
    $comment->set_is_private($wanted->{$comment->id});
    push(@{$self->{comment_isprivate}}, $comment);
  }
  return;
}

sub set_flags { my ($self, @lists) = @_; Bugzilla::Flag->apply($self, @lists); return; }

sub LogActivityEntry {
  my ($bug_id, $field, $removed, $added, $user_id, $timestamp, $comment_id, $attach_id) = @_;
  my $dbh = Bugzilla->dbh;
  my ($field_id) = $dbh->selectrow_array('SELECT id FROM fielddefs WHERE name = ?', undef, $field);
  if (!$field_id) {
    $dbh->do('INSERT INTO fielddefs (name, type, custom, obsolete) VALUES (?, 0, 0, 0)', undef, $field);
    $field_id = $dbh->bz_last_key('fielddefs', 'id');
  }
  my @values = ($bug_id, $user_id, $timestamp, $field_id, map({ defined $_ ? "$_" : '' } $removed, $added), $comment_id, $attach_id);
  trick_taint($_) foreach @values;
  $dbh->do('INSERT INTO bugs_activity (bug_id, who, bug_when, fieldid, removed, added, comment_id, attach_id)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)', undef, @values);
  return;
}

# -- how it is done

sub _multi_fields { return grep { $_->type == FIELD_TYPE_MULTI_SELECT } Bugzilla->active_custom_fields; }

sub _component {
  my ($product, $name) = @_;
  my ($component) = Bugzilla::Component->where('product_id = ? AND name = ?', $product->id, $name);
  return $component || ThrowUserError('component');
}

sub _comment_row {
  my ($self, $comment, $timestamp) = @_;
  my %given = ref $comment ? %$comment : (thetext => $comment);
  return {
    type => CMT_NORMAL, extra_data => undef, isprivate => 0, %given, thetext => defined $given{thetext} ? $given{thetext} : '',
    bug_id => $self->id, who => Bugzilla->user->id, bug_when => $timestamp,
  };
}

sub _add {
  my ($self, $name, $value) = @_;
  my ($table, $column) = @{$LIST{$name}};
  trick_taint($value);
  Bugzilla->dbh->do("INSERT INTO $table (bug_id, $column) VALUES (?, ?)", undef, $self->id, $value);
  return;
}

sub _set_multi {
  my ($self, $name, $values) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->do("DELETE FROM bug_$name WHERE bug_id = ?", undef, $self->id);
  $dbh->do("INSERT INTO bug_$name (bug_id, value) VALUES (?, ?)", undef, $self->id, $_) foreach @$values;
  return;
}

# The other bug only gets a line in its history, and no hook.
sub _link {
  my ($self, $type, $id, $is_added, $timestamp) = @_;
  my $dbh = Bugzilla->dbh;
  my $other = $type eq 'dependson' ? 'blocked' : 'dependson';
  $dbh->do($is_added
    ? "INSERT INTO dependencies ($type, $other) VALUES (?, ?)"
    : "DELETE FROM dependencies WHERE $type = ? AND $other = ?", undef, $id, $self->id);
  LogActivityEntry($id, $other, $is_added ? ('', $self->id) : ($self->id, ''), Bugzilla->user->id, $timestamp);
  $dbh->do('UPDATE bugs SET delta_ts = ? WHERE bug_id = ?', undef, $timestamp, $id);
  return;
}

my %OBJECTS = (
  cc       => ['cc_users',        sub { Bugzilla::User->new({name => $_[0]}) },    sub { $_[0]->id }],
  keywords => ['keyword_objects', sub { Bugzilla::Keyword->new({name => $_[0]}) }, sub { $_[0]->id }],
  groups   => ['groups_in',       sub { Bugzilla::Group->new({name => $_[0]}) },   sub { $_[0]->id }],
  see_also => ['see_also',        sub { Bugzilla::BugUrl->of($_[0]) },             sub { $_[0]->name }],
  map { $_ => [$_, sub { $_[0] }, sub { $_[0] }] } qw(alias dependson blocked),
);

sub _change_list {
  my ($self, $name, $change) = @_;
  my ($accessor, $object, $key) = @{$OBJECTS{$name}};
  my $list = $self->$accessor;
  my %remove = map { $key->($object->($_)) => 1 } @{$change->{remove} || []};
  @$list = map { $object->($_) } @{$change->{set}} if $change->{set};
  @$list = grep { !$remove{$key->($_)} } @$list;
  my %there = map { $key->($_) => 1 } @$list;
  foreach my $item (map { $object->($_) } @{$change->{add} || []}) {
    next if $there{$key->($item)}++;
    push(@$list, $item);
    if ($name eq 'see_also' && $item->isa('Bugzilla::BugUrl::Bugzilla::Local')) {
      my $other = Bugzilla::Bug->new($item->bug_id);
      my $back  = Bugzilla::BugUrl->of($self->id);
      next if grep { $_->name eq $back->name } @{$other->see_also};
      push(@{$other->see_also}, $back);
      push(@{$self->{_update_ref_bugs}}, $other);
    }
  }
  return;
}

sub _store_list {
  my ($self, $old, $changes, $name, $accessor, $word, $key) = @_;
  my ($table, $column) = @{$LIST{$name}};
  my %old = map { $key->($_) => $_ } @{$old->$accessor};
  my %new = map { $key->($_) => $_ } @{$self->$accessor};
  my ($removed, $added) = diff_arrays([sort keys %old], [sort keys %new]);
  return unless @$removed || @$added;
  Bugzilla->dbh->do("DELETE FROM $table WHERE bug_id = ? AND $column = ?", undef, $self->id, $_) foreach @$removed;
  $self->_add($name, $_) foreach @$added;
  $changes->{$name} = [join(', ', map { $word->($old{$_}) } @$removed), join(', ', map { $word->($new{$_}) } @$added)];
  return;
}

1;
