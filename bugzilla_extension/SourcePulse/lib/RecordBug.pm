# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::RecordBug;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database qw(now select_rows);
use Bugzilla::Extension::SourcePulse::Facts    qw(
  bug_fact comment_fact flag_rows flags_done people_of_bug place_of read_more
);
use Bugzilla::Extension::SourcePulse::Flags  qw(flags_of_bug);
use Bugzilla::Extension::SourcePulse::Json   qw(number text);
use Bugzilla::Extension::SourcePulse::Logins qw();
use Bugzilla::Extension::SourcePulse::Outbox qw(record);
use Bugzilla::Extension::SourcePulse::Params qw(active restricted);
use Bugzilla::Extension::SourcePulse::PrivatePeriods
  qw(was_shown_before_closing);
use Bugzilla::Extension::SourcePulse::RawUpdate qw(old_place raw_update);
use Bugzilla::Extension::SourcePulse::Snapshot
  qw(RAW_VERSION bug_snapshot custom_fields);
use Bugzilla::Extension::SourcePulse::ThinRow qw(lines_of_update thin_row_now);
use Bugzilla::Extension::SourcePulse::Times   qw(epoch time_text);
use Bugzilla::Extension::SourcePulse::View    qw(may_be_public row);
use Bugzilla::Extension::SourcePulse::Visibility
  qw(site_is_public visibility_of_bug was_public_bug);

use base qw(Exporter);
our @EXPORT_OK
  = qw(record_bug_deletion record_bug_update record_new_bug remember_flags);

# -- a new bug

sub record_new_bug {
  my ($bug, $timestamp) = @_;
  record(sub { _bug_created($bug, $timestamp) },
    sub { thin_row_now('bug.create', $bug->id, $timestamp, $_[0]) });
  return;
}

sub _bug_created {
  my ($bug, $timestamp) = @_;
  my $more       = read_more($bug->id);
  my $flags      = $more->{flags} = flag_rows(@{$bug->flags});
  my $visibility = visibility_of_bug($bug->id, $more->{is_in_group});
  return row({
    kind       => 'bug.create',
    bug_id     => $bug->id,
    timestamp  => $timestamp,
    visibility => $visibility,
    was        => 0,
    is         => $visibility->is_public_bug($bug->id),
    full       => sub {
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new(Bugzilla->user,
        @{$bug->cc_users});
      $logins->fetch(people_of_bug($bug, $more));
      my $count = 0;
      return {
        place => $more->{place},
        who   => $logins->person($bug->{reporter_id}),
        bug   => bug_fact(
          $logins, bug_snapshot($bug, custom_fields()),
          $more,   time_text($timestamp)
        ),
        comments =>
          [map { comment_fact($logins, $_, $count++) } @{_comments_of($bug->id)}],
        flags =>
          flags_done($logins, [map { {row => $_, status => $_->{status}} } @$flags]),
      };
    },
  });
}

# -- an update

# Moving a bug removes flags only in the database, so they are read before that.
sub remember_flags {
  my ($bug) = @_;
  $bug->{sourcepulse_flags_before} = flags_of_bug($bug->id);
  return;
}

# ARGS: those of bug_end_of_update, which also runs for updates that changed
# nothing.
sub record_bug_update {
  my ($args) = @_;
  return unless active();
  my $bug    = $args->{bug};
  my $update = {
    %$args,
    flags_before => delete $bug->{sourcepulse_flags_before},
    comments     => $bug->{added_comments} || [],
    toggled      => _last_of_each($bug->{comment_isprivate} || []),
    who          => Bugzilla->user->id,
  };
  return unless _has_changes($update);
  record(
    sub { _bug_updated($update, _read_update($update)) },
    sub { _thin_update($update, $_[0]) },
  );
  return;
}

# For comments, Bugzilla also lists changes by earlier updates of the object.
sub _last_of_each {
  my ($comments) = @_;
  my %last = map { $_->{comment_id} => $_ } @$comments;
  return [grep { $_ == $last{$_->{comment_id}} } @$comments];
}

sub _has_changes {
  my ($update) = @_;
  return %{$update->{changes}} || @{$update->{comments}} || @{$update->{toggled}};
}

# Stored are the decisions and snapshots: drain.pl makes the views of them, because
# that takes longer than all else.
sub _bug_updated {
  my ($update, $more) = @_;
  my ($bug, $old_bug) = @$update{qw(bug old_bug)};
  my $visibility = visibility_of_bug($bug->id, $more->{is_in_group});
  my $case       = {
    was         => was_public_bug($old_bug),
    is          => $visibility->is_public_bug($bug->id),
    was_shown   => _was_shown($bug, scalar @{$old_bug->groups_in}),
    is_in_group => $more->{is_in_group},
  };
  my $is_public = may_be_public($case);
  return undef unless $is_public || restricted();
  my %row = (
    kind      => 'bug.update',
    bug_id    => $bug->id,
    timestamp => $update->{timestamp}
  );

  # Of a bug that is private now, the public stream never has more than this.
  return row({
    %row, %$case,
    visibility => $visibility,
    activity   => $more->{activity},
    full => sub { return {old_place => old_place($more, $update->{changes})} },
  })
    unless $case->{is} || restricted();
  my $raw = raw_update($update, $more, $case, $visibility) or return undef;
  return {
    %row,
    is_public => $is_public,
    payload   => {
      v        => RAW_VERSION,
      at       => epoch($update->{timestamp}),
      activity => $more->{activity},
      raw      => $raw,
    },
  };
}

# An update that only adds comments writes nothing into the history.
sub _read_update {
  my ($update) = @_;
  my $changes  = $update->{changes};
  my $more     = read_more(
    $update->{bug}->id,
    {
      old_status => $changes->{bug_status} && text($changes->{bug_status}->[0]),
      %$changes || @{$update->{toggled}}
      ? (when => $update->{timestamp}, who => $update->{who})
      : (),
    }
  );
  $update->{activity} = $more->{activity};
  return $more;
}

sub _thin_update {
  my ($update, $reason)  = @_;
  my ($bug,    $old_bug) = @$update{qw(bug old_bug)};
  my $lines = {
    bug_id   => $bug->id,
    changes  => $update->{changes},
    comments => $update->{toggled},
    activity => $update->{activity},
    when     => $update->{timestamp},
    who      => $update->{who},
  };
  return thin_row_now(
    'bug.update', $bug->id, $update->{timestamp}, $reason, lines_of_update($lines),
    was       => was_public_bug($old_bug),
    old_place => place_of($old_bug),
    comments  => [map { $_->{comment_id} + 0 } @{$update->{comments}}],
  );
}

# -- a deletion

sub record_bug_deletion {
  my ($bug) = @_;
  my $timestamp = now();
  record(
    sub { _bug_deleted($bug, $timestamp) },
    sub {
      my $deleted = _deleted($bug, read_more($bug->id));
      return thin_row_now('bug.delete', $bug->id, $timestamp, $_[0],
        map { $_ => $deleted->{$_} } qw(place creation_time));
    }
  );
  return;
}

sub _bug_deleted {
  my ($bug, $timestamp) = @_;
  my $more       = read_more($bug->id);
  my $visibility = visibility_of_bug($bug->id, $more->{is_in_group});
  return row({
    kind       => 'bug.delete',
    bug_id     => $bug->id,
    timestamp  => $timestamp,
    visibility => $visibility,
    was        => $visibility->is_public_bug($bug->id),
    is         => 0,
    was_shown  => _was_shown($bug, $more->{is_in_group}),
    full       => sub { _deleted($bug, $more) },
  });
}

sub _deleted {
  my ($bug, $more) = @_;
  return {
    place         => $more->{place},
    id            => number($bug->id),
    creation_time => time_text($bug->{creation_ts}),
  };
}

# -- parts of these

# Whether the public could see the bug until the site was closed; a view asks
# this only while it is closed.
sub _was_shown {
  my ($bug, $was_in_group) = @_;
  return 0 if site_is_public() || $was_in_group;
  return was_shown_before_closing($bug);
}

sub _comments_of {
  my ($bug_id) = @_;
  return select_rows(
    'SELECT comment_id, bug_id, who, bug_when, thetext, isprivate, type, extra_data FROM longdescs
      WHERE bug_id = ? ORDER BY comment_id', $bug_id
  );
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::RecordBug - writes the rows of new, updated
and deleted bugs

=head1 DESCRIPTION

In the transaction of the change, each function collects the facts and whether
the bug was public before and is now; L<Bugzilla::Extension::SourcePulse::View>
makes the row of them. If the facts cannot be read, the row is thin.
