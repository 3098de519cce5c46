# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::RecordAttachment;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Attachment qw();

use Bugzilla::Extension::SourcePulse::Changes  qw(attachment_changes);
use Bugzilla::Extension::SourcePulse::Database qw(now select_value);
use Bugzilla::Extension::SourcePulse::Facts
  qw(attachment_fact flag_rows flags_done people_of_flags read_more);
use Bugzilla::Extension::SourcePulse::Flags   qw(flag_changes);
use Bugzilla::Extension::SourcePulse::Logins  qw();
use Bugzilla::Extension::SourcePulse::Outbox  qw(record);
use Bugzilla::Extension::SourcePulse::ThinRow qw(lines_of_update thin_row_now);
use Bugzilla::Extension::SourcePulse::View    qw(row);
use Bugzilla::Extension::SourcePulse::Visibility qw(visibility_of_bug);

use base qw(Exporter);
our @EXPORT_OK = qw(
  record_attachment_update record_emptied_attachment record_new_attachment
);

sub record_new_attachment {
  my ($attachment) = @_;
  my @what = ('attachment.create', $attachment, $attachment->{creation_ts});
  record(
    sub { _attachment_row(@what, {who => $attachment->{submitter_id}}) },
    sub { _thin_row(@what, $_[0], _part($attachment)) },
  );
  return;
}

sub record_attachment_update {
  my ($attachment, $old, $changes) = @_;
  return unless %$changes;

  # Bugzilla sets it in the object if there are changes.
  my $timestamp = $attachment->{modification_time};
  my @what      = ('attachment.update', $attachment, $timestamp);
  my $update    = {
    bug_id    => $attachment->{bug_id},
    attach_id => $attachment->id,
    changes   => $changes,
    when      => $timestamp,
    who       => Bugzilla->user->id,
  };
  record(
    sub {
      $update->{activity} = _last_activity($update);
      my @flags = map { flag_rows(@{$_->flags}) } $old || $attachment, $attachment;
      return _attachment_row(@what, $update, flag_changes(@flags));
    },
    sub { _thin_row(@what, $_[0], lines_of_update($update)) },
  );
  return;
}

# The last line that this update wrote into Bugzilla's history identifies it,
# here and in reconciliation.
sub _last_activity {
  my ($update) = @_;
  return select_value(
    'SELECT MAX(id) FROM bugs_activity WHERE bug_id = ? AND attach_id = ? AND bug_when = ? AND who = ?',
    @$update{qw(bug_id attach_id when who)}
  );
}

# Bugzilla keeps the attachment and removes its content.
sub record_emptied_attachment {
  my ($id)       = @_;
  my $attachment = Bugzilla::Attachment->new($id) or return;
  my %who        = (who => Bugzilla->user->id);
  my @what       = ('attachment.delete', $attachment, now());
  record(
    sub { _attachment_row(@what, {%who}) },
    sub { _thin_row(@what, $_[0], _part($attachment), %who) },
  );
  return;
}

# DONE: who (an id), and of an update changes and activity; then FLAGS are those
# of flag_changes().
sub _attachment_row {
  my ($kind, $attachment, $timestamp, $done, $flags) = @_;
  my $bug_id     = $attachment->{bug_id};
  my $more       = read_more($bug_id);
  my $changes    = $done->{changes};
  my $is_private = $attachment->{isprivate} ? 1 : 0;
  my $visibility = visibility_of_bug($bug_id, $more->{is_in_group});
  my $is_public  = $visibility->is_public_bug($bug_id);
  $visibility->note_attachment($attachment->id, $is_private);
  return row({
    kind       => $kind,
    bug_id     => $bug_id,
    timestamp  => $timestamp,
    activity   => $done->{activity},
    visibility => $visibility,
    was        => $is_public,
    is         => $is_public,
    part_was   => $changes && $changes->{isprivate} ? $is_private : !$is_private,
    part_is    => !$is_private,
    full       => sub {
      my $after  = $flags ? $flags->{after}  : flag_rows(@{$attachment->flags});
      my $before = $flags ? $flags->{before} : [];
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user);
      $logins->fetch($attachment->{submitter_id},
        $done->{who}, people_of_flags(@$before, @$after));
      return {
        place      => $more->{place},
        who        => $logins->person($done->{who}),
        attachment => attachment_fact($logins, $attachment, $after, $timestamp),
        $changes
        ? (
          changes => attachment_changes($logins, $changes, $flags),
          flags   => flags_done($logins, $flags->{done}),
          )
        : (),
      };
    },
  });
}

sub _thin_row {
  my ($kind, $attachment, $timestamp, $reason, %more) = @_;
  return thin_row_now(
    $kind, $attachment->{bug_id}, $timestamp, $reason,
    attachment => $attachment->id + 0,
    %more
  );
}

# Whether the attachment itself is public.
sub _part { return (part => $_[0]->{isprivate} ? 0 : 1); }

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::RecordAttachment - writes the rows of new,
updated and emptied attachments

=head1 DESCRIPTION

The counterpart of L<Bugzilla::Extension::SourcePulse::RecordBug>. Bugzilla has
no hooks for attachments; L<Bugzilla::Extension::SourcePulse::WrappedMethods>
calls these functions.
