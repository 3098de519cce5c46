# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::HistoryScan;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Attachment qw();
use Bugzilla::Bug        qw();

use Bugzilla::Extension::SourcePulse::Database
  qw(now select_in select_rows select_value);
use Bugzilla::Extension::SourcePulse::History
  qw(GROUP_FIELD history_lines import_time is_toggled public_around);
use Bugzilla::Extension::SourcePulse::HistoryRow
  qw(attachment_row bug_by_id comment_rows created_row updated_row);
use Bugzilla::Extension::SourcePulse::HistoryUpdates
  qw(is_other_side updates_of);
use Bugzilla::Extension::SourcePulse::Json
  qw(encode_json_text number text truth);
use Bugzilla::Extension::SourcePulse::PrivatePeriods qw();
use Bugzilla::Extension::SourcePulse::Times          qw(epoch);
use Bugzilla::Extension::SourcePulse::Visibility
  qw(is_about_attachment site_is_public);

use base qw(Exporter);
our @EXPORT_OK = qw(page tips);

# Ids become visible later than they are assigned, so recent rows are examined
# again.
use constant SETTLED_SECONDS => 3600;

# The tables to walk, with their id column, their time column, and the function
# that makes rows of them.
my @WALKS = map { {
  mark  => $_->[0],
  table => $_->[1],
  id    => $_->[2],
  time  => $_->[3],
  make  => $_->[4]
} } (
  [qw(bug bugs bug_id creation_ts),                  \&_created_bugs],
  [qw(attachment attachments attach_id creation_ts), \&_created_attachments],
  [qw(comment longdescs comment_id bug_when),        \&_created_comments],
  [qw(activity bugs_activity id bug_when),           \&_updates],
);

sub tips {
  my %marks;
  foreach my $walk (@WALKS) {
    my $last = select_value("SELECT MAX($walk->{id}) FROM $walk->{table}");
    $marks{$walk->{mark}} = ($last || 0) + 0;
  }
  return \%marks;
}

# One page after the marks. The caller continues with the marks of the answer as
# long as "more" is true; the marks to keep are those of the last page, which
# stop before the first row that is not settled.
sub page {
  my ($marks, $count) = @_;

  # While the site is closed nothing is public, so public changes would be
  # skipped for good.
  return {rows => [], marks => $marks, more => truth(0)} unless site_is_public();
  my %at = map { $_->{mark} => _mark($marks, $_->{mark}) } @WALKS;
  my %kept
    = map { $_->{mark} => _mark($marks->{kept} || $marks, $_->{mark}) } @WALKS;
  my $context = {
    visibility => Bugzilla::Extension::SourcePulse::Visibility->new,
    periods    => Bugzilla::Extension::SourcePulse::PrivatePeriods->new,
    imported   => {},
  };
  my $settled = epoch(now()) - SETTLED_SECONDS;
  my (@rows, $more);
  foreach my $walk (@WALKS) {
    my $found = select_rows(
      "SELECT $walk->{id} AS row_id, $walk->{time} AS row_time FROM $walk->{table}
        WHERE $walk->{id} > ? ORDER BY $walk->{id} "
        . Bugzilla->dbh->sql_limit($count + 1), $at{$walk->{mark}}
    );
    $more    = 1          if @$found > $count;
    $#$found = $count - 1 if @$found > $count;
    next unless @$found;
    push(@rows, $walk->{make}->($context, map { $_->{row_id} } @$found));

    # Rows after one that is not settled are not settled either.
    my $goes_on = $kept{$walk->{mark}} == $at{$walk->{mark}};
    $at{$walk->{mark}} = $found->[-1]->{row_id} + 0;
    foreach my $row ($goes_on ? @$found : ()) {
      last if (epoch($row->{row_time}) || 0) > $settled;
      $kept{$walk->{mark}} = $row->{row_id} + 0;
    }
  }
  return {
    rows  => \@rows,
    marks => $more ? {%at, kept => \%kept} : \%kept,
    more  => truth($more)
  };
}

sub _mark {
  my ($marks, $name) = @_;
  return number($marks->{$name}) || 0;
}

# -- what the tables show

sub _created_bugs {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $id (@ids) {
    my $bug = bug_by_id($id) or next;
    next unless epoch($bug->{creation_ts});
    push(@rows,
      _row([], created_row($bug, _found($context, $id, $bug->{creation_ts}))));
  }
  return @rows;
}

sub _created_attachments {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $attachment (@{Bugzilla::Attachment->new_from_list([@ids])}) {
    next unless epoch($attachment->{creation_ts});
    my $found = _found($context, @$attachment{qw(bug_id creation_ts)});
    push(@rows, _row([], attachment_row('attachment.create', $attachment, $found)));
  }
  return @rows;
}

sub _created_comments {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $comment (@{comment_rows(@ids)}) {
    my $bug   = bug_by_id($comment->{bug_id}) or next;
    my $found = _found($context, @$comment{qw(bug_id bug_when)});
    my $was_hidden
      = is_toggled('comment', $comment->{comment_id})
      || is_about_attachment($comment->{type})
      && is_toggled('attachment', $comment->{extra_data});
    @$found{qw(was is)} = (0, 0) if $was_hidden;
    push(@rows, _row([], updated_row($bug, {%$found, comments => [$comment]})));
  }
  return @rows;
}

sub _updates {
  my ($context, @ids) = @_;

  # An update can cross the end of a page, so all its lines are read.
  my $heads = select_in(
    'SELECT DISTINCT bug_id, bug_when, who, attach_id FROM bugs_activity WHERE id',
    @ids
  );
  my @rows;
  foreach my $head (@$heads) {
    my ($bug_id, $when, $who, $attach_id) = @$head;
    my $lines = history_lines(
      'bugs_activity.bug_id = ? AND bugs_activity.bug_when = ? AND bugs_activity.who = ? AND bugs_activity.attach_id '
        . (defined $attach_id ? '= ?' : 'IS NULL'),
      $bug_id, $when, $who, defined $attach_id ? $attach_id : ()
    );
    my %found = %{_found($context, $bug_id, $when, 1)};
    if (defined $attach_id) {
      my $attachment = Bugzilla::Attachment->new($attach_id) or next;
      push(@rows,
        _row($_, attachment_row('attachment.update', $attachment, {%found, _of($_)})))
        foreach updates_of($bug_id, $lines);
      next;
    }
    my $bug = bug_by_id($bug_id) or next;
    foreach my $part (_parts($head, $lines)) {
      @found{qw(was is)}
        = public_around($bug_id, $part,
        $context->{visibility}->is_public_bug($bug_id))
        unless $found{was_private};
      push(@rows, _row($part, updated_row($bug, {%found, _of($part)})));
    }
  }
  return sort { $a->{activities}->[0] <=> $b->{activities}->[0] } @rows;
}

sub _of {
  my ($lines) = @_;
  return (lines => $lines, activity => $lines->[-1]->{id});
}

# The updates themselves, and separately each line that an update of another bug
# wrote here, because one may be published already while the other is not.
sub _parts {
  my ($head, $lines) = @_;
  my %is_other = map  { $_->{id} => 1 } grep { is_other_side($head, $_) } @$lines;
  my @own      = grep { !$is_other{$_->{id}} } @$lines;
  return (
    (@own ? updates_of($head->[0], \@own) : ()),
    map { [$_] } grep { $is_other{$_->{id}} } @$lines
  );
}

# The members of every recovered row. Public is what was public at that time and
# has been ever since.
sub _found {
  my ($context, $bug_id, $time, $is_line) = @_;
  my $at          = epoch($time) || 0;
  my $was_private = $context->{periods}
    ->was_private($bug_id, $at, $is_line ? $at : _import_time($context, $bug_id));
  my $is_public
    = !$was_private && _is_public_since($context, $bug_id, $at) ? 1 : 0;
  return {
    visibility  => $context->{visibility},
    timestamp   => $time,
    was         => $is_public,
    is          => $is_public,
    was_private => $was_private,
  };
}

# When importxml.pl imported a bug, which keeps its original times.
sub _import_time {
  my ($context, $bug_id) = @_;
  my $imported = $context->{imported};
  $imported->{$bug_id} = epoch(import_time($bug_id)) || 0
    unless exists $imported->{$bug_id};
  return $imported->{$bug_id};
}

sub _is_public_since {
  my ($context, $bug_id, $at) = @_;
  return 0 unless $context->{visibility}->is_public_bug($bug_id);
  my $lines = history_lines('bugs_activity.bug_id = ? AND fielddefs.name = ?',
    $bug_id, GROUP_FIELD);
  return (grep { (epoch($_->{bug_when}) || 0) >= $at } @$lines) ? 0 : 1;
}

sub _row {
  my ($lines, $row) = @_;
  return () unless $row;
  return {
    kind       => $row->{kind},
    bug_id     => $row->{bug_id},
    created_ts => text($row->{timestamp}),
    activities => [map { $_->{id} + 0 } @$lines],
    payload    => encode_json_text({%{$row->{payload}}, recovered => \1}),
  };
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::HistoryScan - rows made from what Bugzilla
itself recorded

=head1 DESCRIPTION

For changes that no hook sees: group controls, the other side of a dependency,
imports, deleted users. The rows show the present state, with the changes that
the history has. There is a public view only if the change was public when it
was made and everything in it still is; if that is unknown, there is none.
