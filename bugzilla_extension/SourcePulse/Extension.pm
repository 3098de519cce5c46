# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse;

# Bugzilla 5.0 and 5.2 each require the line with their own minimum Perl
# version.
use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use base qw(Bugzilla::Extension);

use Bugzilla::Status qw(is_open_state);

use Bugzilla::Extension::SourcePulse::Database qw(handle now);
use Bugzilla::Extension::SourcePulse::Event    qw();
use Bugzilla::Extension::SourcePulse::Facts    qw(flag_rows place_of read_more);
use Bugzilla::Extension::SourcePulse::Flags    qw(between flags_of_bug);
use Bugzilla::Extension::SourcePulse::Outbox   qw(record);
use Bugzilla::Extension::SourcePulse::Params   qw(active is_set_up);
use Bugzilla::Extension::SourcePulse::Periods  qw(note_group_end note_site);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);
use Bugzilla::Extension::SourcePulse::Wrap       qw();

our $VERSION = '2';

# The page on which an administrator changes parameters.
use constant PARAMS_TEMPLATE => 'admin/params/editparams.html.tmpl';

# The classes of things that bugs are filed under. Object hooks also run for all
# other classes.
my $THING = qr/\ABugzilla::(?:Product|Component|Version|Milestone|Keyword)\z/;

Bugzilla::Extension::SourcePulse::Wrap::install(
  created => \&_attachment_created,
  updated => \&_attachment_updated,
  deleted => \&_attachment_deleted,
);

# -- changes of bugs

sub bug_end_of_create {
  my ($self, $args) = @_;
  return unless _is_active();
  my ($bug, $timestamp) = @$args{qw(bug timestamp)};
  record(
    sub { Bugzilla::Extension::SourcePulse::Event::bug_created($bug, $timestamp) },
    sub {
      Bugzilla::Extension::SourcePulse::Event::thin('bug.create', $bug->id,
        $timestamp, $_[0]);
    },
  );
  return;
}

# Moving a bug removes flags only in the database, so they are read before that.
sub bug_start_of_update {
  my ($self, $args)    = @_;
  my ($bug,  $changes) = @$args{qw(bug changes)};
  return unless $changes->{product_id} || $changes->{component_id};
  return unless _is_active();
  $bug->{sourcepulse_flags_before} = flags_of_bug($bug->id);
  return;
}

sub bug_end_of_update {
  my ($self, $args) = @_;
  my ($bug, $old_bug, $changes, $timestamp)
    = @$args{qw(bug old_bug changes timestamp)};
  my $before  = delete $bug->{sourcepulse_flags_before};
  my $toggled = _last_of_each($bug->{comment_isprivate} || []);
  my $added   = $bug->{added_comments} || [];

  # The hook also runs for updates that changed nothing.
  return unless %$changes || @$added || @$toggled;
  return unless _is_active();
  my $who = Bugzilla->user->id;
  my $activity;
  record(
    sub {
      # An update that only adds comments writes nothing into the history.
      my @since = %$changes || @$toggled ? ($timestamp, $who) : ();
      my $more  = read_more($bug->id, @since);
      $activity = $more->{activity};
      my $done = {
        who      => $who,
        was_open => $changes->{bug_status}
        ? is_open_state($old_bug->{bug_status})
        : $more->{is_open},
        flags    => _flags_of($bug, $old_bug, $before),
        comments => $added,
        toggled  => $toggled,
      };
      return Bugzilla::Extension::SourcePulse::Event::bug_updated($bug, $old_bug,
        $changes, $more, $timestamp, $done);
    },
    sub {
      my $update = {
        changes  => $changes,
        comments => $toggled,
        activity => $activity,
        when     => $timestamp
      };
      return Bugzilla::Extension::SourcePulse::Event::thin(
        'bug.update', $bug->id, $timestamp, $_[0], _lines_of($bug->id, undef, $update),
        was       => Bugzilla::Extension::SourcePulse::Event::was_public($old_bug),
        old_place => place_of($old_bug),
        comments  => [map { $_->{comment_id} + 0 } @$added],
      );
    },
  );
  return;
}

# For comments, Bugzilla also lists changes by earlier updates of the object.
sub _last_of_each {
  my ($comments) = @_;
  my %last = map { $_->{comment_id} => $_ } @$comments;
  return [grep { $_ == $last{$_->{comment_id}} } @$comments];
}

sub _bug_deleted {
  my ($bug) = @_;
  my $timestamp = now();
  record(
    sub { Bugzilla::Extension::SourcePulse::Event::bug_deleted($bug, $timestamp) },
    sub {
      Bugzilla::Extension::SourcePulse::Event::thin_deletion($bug, $timestamp, $_[0]);
    },
  );
  return;
}

sub _flags_of {
  my ($bug, $old_bug, $before) = @_;
  return between($before, flags_of_bug($bug->id)) if $before;
  return between(map { flag_rows(@{$_->flags}) } $old_bug, $bug);
}

# Which lines of Bugzilla's history an update wrote, for a row that is filled
# later.
sub _lines_of {
  my ($bug_id, $attach_id, $update) = @_;
  require Bugzilla::Extension::SourcePulse::History;
  my $activity = $update->{activity};
  my $first    = Bugzilla::Extension::SourcePulse::History::first_line_of({
    %$update,
    bug_id    => $bug_id,
    attach_id => $attach_id,
    who       => Bugzilla->user->id,
  });
  return (
    activity => defined $activity ? $activity + 0 : undef,
    first    => defined $first    ? $first + 0    : undef,
    who      => Bugzilla->user->id,
  );
}

# -- changes of attachments

sub _attachment_created {
  my ($attachment) = @_;
  record(
    sub { Bugzilla::Extension::SourcePulse::Event::attachment_created($attachment) }
    ,
    sub {
      return Bugzilla::Extension::SourcePulse::Event::thin(
        'attachment.create', $attachment->{bug_id}, $attachment->{creation_ts}, $_[0],
        attachment => $attachment->id + 0,
        part       => $attachment->{isprivate} ? 0 : 1,
      );
    },
  );
  return;
}

sub _attachment_updated {
  my ($attachment, $old, $changes) = @_;
  return unless %$changes;

  # Bugzilla sets it in the object if there are changes.
  my $timestamp = $attachment->{modification_time};
  my $activity;
  record(
    sub {
      $activity = _last_activity($attachment, $timestamp);
      my $done = {
        who      => Bugzilla->user->id,
        activity => $activity,
        flags    =>
          between(map { flag_rows(@{$_->flags}) } ($old || $attachment), $attachment),
      };
      return Bugzilla::Extension::SourcePulse::Event::attachment_updated($attachment,
        $changes, $timestamp, $done);
    },
    sub {
      my $update = {changes => $changes, activity => $activity, when => $timestamp};
      return Bugzilla::Extension::SourcePulse::Event::thin(
        'attachment.update',
        $attachment->{bug_id},
        $timestamp,
        $_[0],
        _lines_of($attachment->{bug_id}, $attachment->id, $update),
        attachment => $attachment->id + 0,
      );
    },
  );
  return;
}

# Bugzilla keeps the attachment and removes its content.
sub _attachment_deleted {
  my ($id)       = @_;
  my $timestamp  = now();
  my $attachment = Bugzilla::Attachment->new($id) or return;
  record(
    sub {
      Bugzilla::Extension::SourcePulse::Event::attachment_deleted($attachment,
        $timestamp);
    },
    sub {
      return Bugzilla::Extension::SourcePulse::Event::thin(
        'attachment.delete', $attachment->{bug_id}, $timestamp, $_[0],
        attachment => $id + 0,
        part       => $attachment->{isprivate} ? 0 : 1,
        who        => Bugzilla->user->id,
      );
    },
  );
  return;
}

# The last line that this update wrote into Bugzilla's history identifies it,
# here and in reconciliation.
sub _last_activity {
  my ($attachment, $timestamp) = @_;
  my ($last) = handle()->selectrow_array(
    'SELECT MAX(id) FROM bugs_activity WHERE bug_id = ? AND bug_when = ? AND who = ? AND attach_id = ?',
    undef, $attachment->{bug_id}, $timestamp, Bugzilla->user->id, $attachment->id
  );
  return $last;
}

# -- changes of the things that bugs are filed under

sub product_end_of_create {
  my ($self, $args) = @_;
  return unless _is_active();
  _record_thing('create', $args->{product});
  return;
}

# A new product is published when its groups exist: product_end_of_create.
sub object_end_of_create {
  my ($self, $args) = @_;
  my $object = $args->{object};
  return unless ref($object) =~ $THING && !$object->isa('Bugzilla::Product');
  _record_thing('create', $object) if _is_active();
  return;
}

sub object_end_of_update {
  my ($self, $args) = @_;
  my ($object, $old, $changes) = @$args{qw(object old_object changes)};
  if ($object->isa('Bugzilla::Attachment')) {
    $Bugzilla::Extension::SourcePulse::Wrap::old_attachment = $old;
  }
  elsif (ref($object) =~ $THING && %$changes && _is_active()) {
    _record_thing('update', $object, $old, $changes);
  }
  return;
}

sub object_before_delete {
  my ($self, $args) = @_;
  my $object = $args->{object};
  if ($object->isa('Bugzilla::Bug')) {
    _bug_deleted($object) if _is_active();
    return;
  }
  my $is_flag_type = $object->isa('Bugzilla::FlagType');
  return unless ($is_flag_type || ref($object) =~ $THING) && _is_active();
  if ($is_flag_type) {
    _record_lost(\&Bugzilla::Extension::SourcePulse::Lost::rows_of_flag_type,
      $object);
    return;
  }
  _record_lost(\&Bugzilla::Extension::SourcePulse::Lost::rows_of_keyword, $object)
    if $object->isa('Bugzilla::Keyword');
  _record_thing('delete', $object);
  return;
}

# Visitors can see the bugs of a group after its deletion; Bugzilla removes the
# group from them without a line in their history.
sub group_before_delete {
  my ($self, $args) = @_;
  return unless is_set_up();
  my $group     = $args->{group};
  my $timestamp = now();

  # Even while nothing is published, because recovery needs it later.
  record(sub { note_group_end($group->id, $timestamp) }, sub { die "$_[0]\n" },);
  _record_lost(\&Bugzilla::Extension::SourcePulse::Lost::rows_of_group,
    $group, $timestamp)
    if _is_active() && site_is_public();
  return;
}

sub _record_thing {
  my ($fact, $object, $old, $changes) = @_;
  require Bugzilla::Extension::SourcePulse::Things;
  my $timestamp = now();
  record(
    sub {
      return Bugzilla::Extension::SourcePulse::Things::thing_row($fact, $object,
        $timestamp, $old, $changes);
    },

    # This row cannot be filled later, because nothing records the old state.
    sub { die "$_[0]\n" },
  );
  return;
}

# One row for each bug that loses something when another object is deleted.
sub _record_lost {
  my ($rows_of, $object, $timestamp) = @_;
  require Bugzilla::Extension::SourcePulse::Lost;
  $timestamp ||= now();
  record(sub { return @{$rows_of->($object, $timestamp)} },
    sub { die "$_[0]\n" });
  return;
}

sub _is_active { return active(); }

# -- setup and administration

sub db_schema_abstract_schema {
  my ($self, $args) = @_;
  my $schema = $args->{schema};
  $schema->{+Bugzilla::Extension::SourcePulse::Outbox::TABLE}
    = Bugzilla::Extension::SourcePulse::Outbox::schema();
  $schema->{+Bugzilla::Extension::SourcePulse::Outbox::STATE_TABLE}
    = Bugzilla::Extension::SourcePulse::Outbox::state_schema();
  $schema->{+Bugzilla::Extension::SourcePulse::Periods::TABLE}
    = Bugzilla::Extension::SourcePulse::Periods::schema();
  return;
}

sub config_add_panels {
  my ($self, $args) = @_;
  $args->{panel_modules}->{SourcePulse}
    = 'Bugzilla::Extension::SourcePulse::Params';
  return;
}

# There is no hook for changed parameters, but the page on which they were
# changed is shown afterwards.
sub template_before_process {
  my ($self, $args) = @_;
  return unless $args->{file} eq PARAMS_TEMPLATE && is_set_up();
  record(sub { note_site(site_is_public()) }, sub { die "$_[0]\n" });
  return;
}

sub sanitycheck_check {
  my ($self, $args) = @_;
  my $status = $args->{status};
  return unless _is_active();
  require Bugzilla::Extension::SourcePulse::Health;
  $status->('sourcepulse_check');
  $status->("sourcepulse_$_->{problem}", $_, 'alert')
    foreach Bugzilla::Extension::SourcePulse::Health::problems();
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

Every hook collects what happened and passes it to
L<Bugzilla::Extension::SourcePulse::Outbox>, which writes a row in the current
transaction. Nothing here uses the network, prints, waits, or calls code that
may show an error page.

The README beside this folder describes how to enable the extension, what it
publishes and which changes it does not see.
