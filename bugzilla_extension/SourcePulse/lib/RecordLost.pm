# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::RecordLost;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Database   qw(select_column select_in);
use Bugzilla::Extension::SourcePulse::Flags      qw(flags_of_type);
use Bugzilla::Extension::SourcePulse::Json       qw(number text);
use Bugzilla::Extension::SourcePulse::Outbox     qw(record);
use Bugzilla::Extension::SourcePulse::Params     qw(restricted);
use Bugzilla::Extension::SourcePulse::ThinRow    qw(thin_row);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);

# OBJECT: a group, a keyword or a flag type, before it is deleted.
sub record_lost {
  my ($object, $timestamp) = @_;
  my $rows_of
    = $object->isa('Bugzilla::Group')   ? \&_rows_of_group
    : $object->isa('Bugzilla::Keyword') ? \&_rows_of_keyword
    :                                     \&_rows_of_flag_type;
  record(sub { $rows_of->($object, $timestamp) });
  return;
}

# The bugs that become visible to visitors.
sub _rows_of_group {
  my ($group, $timestamp) = @_;
  my @ids = select_column(
    'SELECT bug_id FROM bug_group_map WHERE group_id = ? AND bug_id NOT IN
      (SELECT bug_id FROM bug_group_map WHERE group_id <> ?) ORDER BY bug_id',
    ($group->id) x 2
  );
  my %change = (was => 0, is => 1);
  return map {
    thin_row('bug.update', $_, $timestamp, 'its last group was deleted', %change)
  } @ids;
}

sub _rows_of_keyword {
  my ($keyword, $timestamp) = @_;
  my @ids
    = select_column(
    'SELECT bug_id FROM keywords WHERE keywordid = ? ORDER BY bug_id',
    $keyword->id);
  my $lost = {field_name => 'keywords', removed => [text($keyword->name)]};
  return _rows('its keyword was deleted',
    $timestamp, map { {bug_id => $_, lost => $lost} } @ids);
}

# A row for each bug and each attachment, with the flags that it had.
sub _rows_of_flag_type {
  my ($type, $timestamp) = @_;
  my (%flags, @order);
  foreach my $flag (@{flags_of_type($type->id)}) {
    my $key = "$flag->{bug_id} " . ($flag->{attach_id} || '');
    push(@order,          $key) unless $flags{$key};
    push(@{$flags{$key}}, $flag);
  }
  return _rows(
    'its flag type was deleted',
    $timestamp,
    map { {
      bug_id     => $_->[0]->{bug_id},
      attachment => $_->[0]->{attach_id},
      flags      => $_
    } } @flags{@order}
  );
}

# Rows of private bugs are only written if the restricted stream is on.
sub _rows {
  my ($reason, $timestamp, @losses) = @_;
  my $in_group
    = select_in('SELECT DISTINCT bug_id FROM bug_group_map WHERE bug_id',
    map { $_->{bug_id} } @losses);
  my %in_group   = map { $_->[0] => 1 } @$in_group;
  my $restricted = restricted();
  my %is_private = map { $_->[0] => $_->[1] } @{
    select_in('SELECT attach_id, isprivate FROM attachments WHERE attach_id',
      grep {defined} map { $_->{attachment} } @losses)
  };
  my @rows;
  foreach my $loss (@losses) {
    my $bug_id     = delete $loss->{bug_id};
    my $is_public  = site_is_public() && !$in_group{$bug_id} ? 1 : 0;
    my $attachment = number(delete $loss->{attachment});
    next unless $is_public || $restricted;
    push(
      @rows,
      thin_row(
        defined $attachment ? 'attachment.update' : 'bug.update', $bug_id, $timestamp,
        $reason, %$loss,
        was => $is_public,
        is  => $is_public,
        defined $attachment
        ? (attachment => $attachment, part => $is_private{$attachment} ? 0 : 1)
        : (),
      )
    );
  }
  return @rows;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::RecordLost - writes the rows of bugs that lose
a group, a keyword or flags because these are deleted

=head1 DESCRIPTION

The database removes these references itself: no hook runs for the bugs, and
their history has no line. The rows are thin, because there can be many;
drain.pl reads the bugs.
