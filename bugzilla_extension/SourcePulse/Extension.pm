# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse;

use 5.10.1;
use strict;
use warnings;

use base qw(Bugzilla::Extension);

use Bugzilla::Status qw(is_open_state);

use Bugzilla::Extension::SourcePulse::Database qw(handle);
use Bugzilla::Extension::SourcePulse::Event;
use Bugzilla::Extension::SourcePulse::Facts;
use Bugzilla::Extension::SourcePulse::Flags;
use Bugzilla::Extension::SourcePulse::Outbox;
use Bugzilla::Extension::SourcePulse::Params;
use Bugzilla::Extension::SourcePulse::Values qw(time_text);
use Bugzilla::Extension::SourcePulse::Wrap;

our $VERSION = '1';

Bugzilla::Extension::SourcePulse::Wrap::install(created => \&_attachment_created, updated => \&_attachment_updated);

# -- what happens to bugs and attachments

sub bug_end_of_create {
  my ($self, $args) = @_;
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  my ($bug, $timestamp) = @$args{qw(bug timestamp)};
  Bugzilla::Extension::SourcePulse::Outbox::record(
    sub { Bugzilla::Extension::SourcePulse::Event::bug_created($bug, $timestamp) },
    sub { Bugzilla::Extension::SourcePulse::Event::thin('bug.create', $bug->id, $timestamp, $_[0]) },
  );
  return;
}

# Moving a bug removes flags in the database alone, so they are read while they are still there.
sub bug_start_of_update {
  my ($self, $args) = @_;
  my ($bug, $changes) = @$args{qw(bug changes)};
  return unless $changes->{product_id} || $changes->{component_id};
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  $bug->{sourcepulse_flags_before} = Bugzilla::Extension::SourcePulse::Flags::in_database($bug->id);
  return;
}

sub bug_end_of_update {
  my ($self, $args) = @_;
  my ($bug, $old_bug, $changes, $timestamp) = @$args{qw(bug old_bug changes timestamp)};
  my $before = delete $bug->{sourcepulse_flags_before};
  my $toggled = $bug->{comment_isprivate} || [];
  my $added   = $bug->{added_comments}    || [];
  # The hook runs for updates that changed nothing as well.
  return unless %$changes || @$added || @$toggled;
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  my $activity;
  Bugzilla::Extension::SourcePulse::Outbox::record(
    sub {
      # What only adds comments writes nothing into the history.
      my @since = %$changes || @$toggled ? ($timestamp, Bugzilla->user->id) : ();
      my $more = Bugzilla::Extension::SourcePulse::Facts::read_more($bug->id, @since);
      $activity = $more->{activity};
      my $done = {
        who       => Bugzilla->user->id,
        was_open  => $changes->{bug_status} ? is_open_state($old_bug->{bug_status}) : $more->{is_open},
        flags     => _flags_of($bug, $old_bug, $before),
        comments  => $added,
        hidden    => [grep { $_->{isprivate} } @$toggled],
        published => [grep { !$_->{isprivate} } @$toggled],
      };
      return Bugzilla::Extension::SourcePulse::Event::bug_updated($bug, $old_bug, $changes, $more, $timestamp, $done);
    },
    sub {
      return Bugzilla::Extension::SourcePulse::Event::thin('bug.update', $bug->id, $timestamp, $_[0],
        activity => defined $activity ? $activity + 0 : undef,
        was      => Bugzilla::Extension::SourcePulse::Event::was_public($old_bug),
        comments => [map { $_->{comment_id} + 0 } @$added]);
    },
  );
  return;
}

sub object_end_of_update {
  my ($self, $args) = @_;
  $Bugzilla::Extension::SourcePulse::Wrap::old_attachment = $args->{old_object}
    if $args->{object}->isa('Bugzilla::Attachment');
  return;
}

sub object_before_delete {
  my ($self, $args) = @_;
  my $bug = $args->{object};
  return unless $bug->isa('Bugzilla::Bug');
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  my ($timestamp) = Bugzilla->dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  Bugzilla::Extension::SourcePulse::Outbox::record(
    sub { Bugzilla::Extension::SourcePulse::Event::bug_deleted($bug, $timestamp) },
    sub {
      my $place = Bugzilla::Extension::SourcePulse::Facts::read_more($bug->id)->{place};
      return Bugzilla::Extension::SourcePulse::Event::thin('bug.delete', $bug->id, $timestamp, $_[0],
        place => $place, creation_time => time_text($bug->{creation_ts}));
    },
  );
  return;
}

# Whoever is not in a group that goes can see its bugs from now on; Bugzilla removes them from it without a word.
sub group_before_delete {
  my ($self, $args) = @_;
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  my $group = $args->{group};
  my ($timestamp) = Bugzilla->dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  Bugzilla::Extension::SourcePulse::Outbox::record_published($group->id, $timestamp);
  return;
}

sub _attachment_created {
  my ($attachment) = @_;
  Bugzilla::Extension::SourcePulse::Outbox::record(
    sub { Bugzilla::Extension::SourcePulse::Event::attachment_created($attachment) },
    sub {
      return Bugzilla::Extension::SourcePulse::Event::thin('attachment.create', $attachment->{bug_id},
        $attachment->{creation_ts}, $_[0], attachment => $attachment->id + 0);
    },
  );
  return;
}

sub _attachment_updated {
  my ($attachment, $old, $changes) = @_;
  return unless %$changes;
  # Bugzilla writes it into the object when there are changes.
  my $timestamp = $attachment->{modification_time};
  my $activity;
  Bugzilla::Extension::SourcePulse::Outbox::record(
    sub {
      $activity = _last_activity($attachment, $timestamp);
      my ($before, $after)
        = map { Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$_->flags}) } ($old || $attachment), $attachment;
      my $done = {
        who      => Bugzilla->user->id,
        activity => $activity,
        flags    => Bugzilla::Extension::SourcePulse::Flags::between($before, $after),
      };
      return Bugzilla::Extension::SourcePulse::Event::attachment_updated($attachment, $changes, $timestamp, $done);
    },
    sub {
      return Bugzilla::Extension::SourcePulse::Event::thin('attachment.update', $attachment->{bug_id},
        $timestamp, $_[0], attachment => $attachment->id + 0, activity => defined $activity ? $activity + 0 : undef);
    },
  );
  return;
}

sub _flags_of {
  my ($bug, $old_bug, $before) = @_;
  return Bugzilla::Extension::SourcePulse::Flags::between($before,
    Bugzilla::Extension::SourcePulse::Flags::in_database($bug->id))
    if $before;
  my ($then, $now) = map { Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$_->flags}) } $old_bug, $bug;
  return Bugzilla::Extension::SourcePulse::Flags::between($then, $now);
}

# The last line that this update wrote into Bugzilla's history names it, here and for reconciliation.
sub _last_activity {
  my ($attachment, $timestamp) = @_;
  my ($last) = handle()->selectrow_array(
    'SELECT MAX(id) FROM bugs_activity WHERE bug_id = ? AND bug_when = ? AND who = ? AND attach_id = ?',
    undef, $attachment->{bug_id}, $timestamp, Bugzilla->user->id, $attachment->id);
  return $last;
}

# -- how it is set up and looked after

sub db_schema_abstract_schema {
  my ($self, $args) = @_;
  $args->{schema}->{+Bugzilla::Extension::SourcePulse::Outbox::TABLE} = Bugzilla::Extension::SourcePulse::Outbox::schema();
  return;
}

sub config_add_panels {
  my ($self, $args) = @_;
  $args->{panel_modules}->{SourcePulse} = 'Bugzilla::Extension::SourcePulse::Params';
  return;
}

sub sanitycheck_check {
  my ($self, $args) = @_;
  my $status = $args->{status};
  return unless Bugzilla::Extension::SourcePulse::Params::active();
  require Bugzilla::Extension::SourcePulse::Health;
  $status->('sourcepulse_check');
  $status->("sourcepulse_$_->{problem}", $_, 'alert') foreach Bugzilla::Extension::SourcePulse::Health::problems();
  return;
}

sub page_before_template {
  my ($self, $args) = @_;
  return unless $args->{page_id} eq 'sourcepulse.html';
  require Bugzilla::Extension::SourcePulse::Health;
  Bugzilla::Extension::SourcePulse::Health::show_page($args->{vars});
  return;
}

__PACKAGE__->NAME;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse - the hooks

=head1 DESCRIPTION

Every hook collects what happened and hands it to L<Bugzilla::Extension::SourcePulse::Outbox>, which writes a row in the transaction that is
running. Nothing here talks to a network, prints, waits, or calls anything that may show an error page.

The README beside this folder says how to enable it, what it tells and what it does not see.
