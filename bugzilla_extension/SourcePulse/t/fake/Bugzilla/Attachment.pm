# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Attachment;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::Object);

use Bugzilla::Error;
use Bugzilla::Flag;
use Bugzilla::Hook;

use constant {DB_TABLE => 'attachments', ID_FIELD => 'attach_id', NAME_FIELD => 'attach_id'};
use constant UPDATE_COLUMNS => qw(description filename isobsolete ispatch isprivate mimetype);

# Opens no transaction.
sub create {
  my ($class, $params) = @_;
  my %row  = %$params;
  my $bug  = delete $row{bug};
  my $data = delete $row{data};
  $class->begin_create(\%row);
  Bugzilla::Hook::process('attachment_process_data', {data => \$data, attributes => \%row});
  ThrowUserError('zero_length_file') if !defined $data || $data eq '';
  @row{qw(bug_id submitter_id)} = ($bug->id, Bugzilla->user->id);
  ($row{creation_ts}) = Bugzilla->dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)') unless $row{creation_ts};
  $row{modification_time} = $row{creation_ts};
  my $self = $class->insert_create_data(\%row);
  Bugzilla->dbh->do('INSERT INTO attach_data (id, thedata) VALUES (?, ?)', undef, $self->id, $data);
  $self->{bug} = $bug;
  return $self;
}

# Opens one only for its own columns.
sub update {
  my ($self, $timestamp) = @_;
  my $dbh = Bugzilla->dbh;
  ($timestamp) = $dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)') unless $timestamp;
  my ($changes, $old) = $self->SUPER::update;
  my ($removed, $added) = Bugzilla::Flag->update_flags($self, $old, $timestamp);
  $changes->{'flagtypes.name'} = [$removed, $added] if $removed || $added;
  require Bugzilla::Bug;
  foreach my $field (sort keys %$changes) {
    my $name = $field eq 'flagtypes.name' ? $field : "attachments.$field";
    Bugzilla::Bug::LogActivityEntry($self->{bug_id}, $name, @{$changes->{$field}}, Bugzilla->user->id, $timestamp, undef, $self->id);
  }
  if (%$changes) {
    $dbh->do('UPDATE attachments SET modification_time = ? WHERE attach_id = ?', undef, $timestamp, $self->id);
    $dbh->do('UPDATE bugs SET delta_ts = ? WHERE bug_id = ?', undef, $timestamp, $self->{bug_id});
    $self->{modification_time} = $timestamp;
  }
  return $changes;
}

# Keeps the row, without a line in the history; no hook either.
sub remove_from_db {
  my ($self) = @_;
  my $dbh = Bugzilla->dbh;
  $dbh->bz_start_transaction;
  $dbh->do('DELETE FROM flags WHERE attach_id = ?', undef, $self->id);
  $dbh->do('DELETE FROM attach_data WHERE id = ?', undef, $self->id);
  $dbh->do('UPDATE attachments SET mimetype = ?, ispatch = 0, isobsolete = 1 WHERE attach_id = ?', undef, 'text/plain', $self->id);
  $dbh->bz_commit_transaction;
  return;
}

sub flags { return $_[0]->{flags} ||= [Bugzilla::Flag->where('attach_id = ?', $_[0]->id)]; }
sub bug   { return $_[0]->{bug}   ||= Bugzilla::Bug->new($_[0]->{bug_id}); }

sub set_flags       { my ($self, @lists) = @_; Bugzilla::Flag->apply($self, @lists); return; }
sub set_is_private  { $_[0]->{isprivate}   = $_[1] ? 1 : 0; return; }
sub set_is_obsolete { $_[0]->{isobsolete}  = $_[1] ? 1 : 0; return; }
sub set_description { $_[0]->{description} = $_[1];         return; }

sub datasize {
  my ($size) = Bugzilla->dbh->selectrow_array('SELECT LENGTH(thedata) FROM attach_data WHERE id = ?', undef, $_[0]->id);
  return $size || 0;
}

1;
