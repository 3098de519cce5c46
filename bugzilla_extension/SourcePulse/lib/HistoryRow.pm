# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::HistoryRow;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Bug    qw();
use Bugzilla::Status qw(is_open_state);

use Bugzilla::Extension::SourcePulse::Changes  qw(flag_item);
use Bugzilla::Extension::SourcePulse::Database qw(select_in);
use Bugzilla::Extension::SourcePulse::Facts
  qw(attachment_fact bug_fact comment_fact flag_rows flags_done read_more);
use Bugzilla::Extension::SourcePulse::Flags   qw(CLEARED);
use Bugzilla::Extension::SourcePulse::History qw(
  ATTACHMENT_PRIVACY_FIELD COMMENT_PRIVACY_FIELD is_toggled place_before
  place_names_at
);
use Bugzilla::Extension::SourcePulse::HistoryChanges
  qw(history_changes history_fields);
use Bugzilla::Extension::SourcePulse::Json   qw(text truth);
use Bugzilla::Extension::SourcePulse::Logins qw();
use Bugzilla::Extension::SourcePulse::Snapshot
  qw(COMMENT_COLUMNS bug_snapshot custom_fields);
use Bugzilla::Extension::SourcePulse::Times      qw(time_text);
use Bugzilla::Extension::SourcePulse::View       qw(row);
use Bugzilla::Extension::SourcePulse::Visibility qw(PUBLIC is_about_attachment);

use base qw(Exporter);
our @EXPORT_OK = qw(
  attachment_row bug_by_id comment_rows created_row deleted_row updated_row
);

# FOUND, for all of these: visibility, timestamp, activity, was and is (of the
# bug).

sub created_row {
  my ($bug, $found) = @_;
  return row({
    %$found,
    kind   => 'bug.create',
    bug_id => $bug->id,
    full   => sub {
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new;
      my $more   = _more($bug);
      return {
        place => $more->{place},
        who   => $logins->person($bug->{reporter_id}),
        bug   => bug_fact(
          $logins, bug_snapshot($bug, custom_fields()),
          $more,   time_text($bug->{delta_ts})
        ),
        comments => [],
        flags    => [],
      };
    },
  });
}

# More of FOUND: old_place, lines (of the history), comments (new ones, as
# rows), lost (a change without a line) and flags (that went with their type).
sub updated_row {
  my ($bug, $found) = @_;
  my $lines = $found->{lines} || [];
  return row({
    %$found,
    kind             => 'bug.update',
    bug_id           => $bug->id,
    is_place_unknown => !@$lines && !$found->{old_place},
    full             => sub {
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new;
      my $more   = _more($bug);
      my $fields = history_fields($lines);
      my $status = $fields->{bug_status};

      # If a later update changed it again, that one reports the change.
      my $old_status
        = $status && $status->[1] eq text($bug->{bug_status})
        ? $status->[0]
        : $bug->{bug_status};
      return {
        place     => $more->{place},
        old_place => _old_place($bug, $found, $more),
        was_open  => truth(is_open_state($old_status)),
        bug       => bug_fact(
          $logins, bug_snapshot($bug, custom_fields()),
          $more,   time_text($bug->{delta_ts})
        ),
        who      => $logins->person(@$lines ? $lines->[0]->{who} : undef),
        changes  => [@{history_changes($logins, $fields)}, _lost($logins, $found)],
        flags    => _cleared($logins, $found),
        comments => [map { comment_fact($logins, $_) } @{$found->{comments} || []}],
        comments_toggled => _toggled($logins, $lines),
      };
    },
  });
}

# FOUND also has: place and creation_time, read when the bug was deleted.
sub deleted_row {
  my ($bug_id, $found) = @_;
  return row({
    %$found,
    kind   => 'bug.delete',
    bug_id => $bug_id,
    full   => sub {
      return {id => $bug_id + 0, map { $_ => $found->{$_} } qw(place creation_time)};
    },
  });
}

# KIND: attachment.create, .update or .delete.
sub attachment_row {
  my ($kind, $attachment, $found) = @_;
  my $lines  = $found->{lines} || [];
  my $fields = history_fields($lines);
  my ($was, $is) = _public_by_itself($attachment, $lines, $found->{part});
  return row({
    %$found,
    kind     => $kind,
    bug_id   => $attachment->{bug_id},
    part_was => $was,
    part_is  => $is,
    full     => sub {
      my $logins = Bugzilla::Extension::SourcePulse::Logins->new;
      my $more   = read_more($attachment->{bug_id});
      my $flags  = flag_rows(@{$attachment->flags});
      my $who
        = @$lines                      ? $lines->[0]->{who}
        : $kind eq 'attachment.create' ? $attachment->{submitter_id}
        :                                $found->{who};
      return {
        place      => $more->{place},
        who        => $logins->person($who),
        attachment => attachment_fact(
          $logins, $attachment, $flags, $attachment->{modification_time}
        ),
        $kind eq 'attachment.update'
        ? (
          changes => [@{history_changes($logins, $fields)}, _lost($logins, $found)],
          flags   => _cleared($logins, $found),
          )
        : (),
      };
    },
  });
}

sub comment_rows {
  my (@ids) = @_;
  my @names = COMMENT_COLUMNS;
  my $rows  = select_in(
    'SELECT ' . join(', ', @names) . ' FROM longdescs WHERE comment_id', @ids);
  return [map { my %row; @row{@names} = @$_; \%row }
      sort { $a->[0] <=> $b->[0] } @$rows];
}

# undef if there is none, or if it is not valid.
sub bug_by_id {
  my ($id) = @_;
  my $bug = Bugzilla::Bug->new($id);
  return $bug && !$bug->{error} ? $bug : undef;
}

# -- parts of these

# The hook's own record has priority; without lines the history shows nothing.
sub _old_place {
  my ($bug, $found, $more) = @_;
  my $is_hidden = $found->{was} && defined $found->{is} && !$found->{is};
  return $found->{old_place} if $is_hidden && $found->{old_place};
  my $lines = $found->{lines} || [];
  return $more->{place} unless @$lines;

  # A product or component that was renamed since may have a secret name.
  my $place = $is_hidden
    ? place_names_at($bug, $lines->[0]->{bug_when},
    $more->{place}, _is_public_product($found, $bug))
    : $more->{place};
  return place_before($bug->id, $lines->[0]->{id}, $place);
}

sub _is_public_product {
  my ($found, $bug) = @_;
  my $id = $bug->{product_id};
  return $found->{visibility}->state_of_products($id)->{$id} eq PUBLIC;
}

sub _more {
  my ($bug) = @_;
  my $more = read_more($bug->id);
  $more->{flags} = flag_rows(@{$bug->flags});
  return $more;
}

# Whether the attachment was public before and after these lines; PART if the
# hook recorded it; unknown if it was changed since. One that was public at both
# ends but not in between is published again, but not what it was in between.
sub _public_by_itself {
  my ($attachment, $lines, $part) = @_;
  return ($part ? 1 : 0) x 2 if defined $part;
  return (undef, undef)
    if is_toggled('attachment', $attachment->id,
    @$lines ? $lines->[-1]->{id} : 0);
  my @toggles = grep { $_->{name} eq ATTACHMENT_PRIVACY_FIELD } @$lines;
  return ($attachment->{isprivate} ? 0 : 1) x 2 unless @toggles;
  my ($was, $is) = map { text($_) eq '1' ? 0 : 1 } $toggles[0]->{removed},
    $toggles[-1]->{added};
  return ($is && @toggles > 1 ? 0 : $was, $is);
}

# Comments whose privacy these lines changed, each by its last line and only if
# it still holds: a change that was undone since may have been published
# already, and would follow its reversal. For a comment about an attachment, the
# earlier privacy is unknown if the attachment was ever hidden.
sub _toggled {
  my ($logins, $lines) = @_;
  my %last = map { $_->{comment_id} => $_ }
    grep { $_->{comment_id} && $_->{name} eq COMMENT_PRIVACY_FIELD } @$lines;
  my @toggled;
  foreach my $row (@{comment_rows(keys %last)}) {
    my $is_hidden = text($last{$row->{comment_id}}->{added}) eq '1' ? 1 : 0;
    next unless $is_hidden == ($row->{isprivate} ? 1 : 0);
    push(
      @toggled,
      {
        comment   => comment_fact($logins, $row),
        is_hidden => $is_hidden,
        part_was  => is_about_attachment($row->{type})
          && is_toggled('attachment', $row->{extra_data}) ? 0 : 1,
      }
    );
  }
  return \@toggled;
}

# A keyword, or flags, that disappeared because their definition was deleted.
sub _lost {
  my ($logins, $found) = @_;
  my @lost;
  push(@lost, {%{$found->{lost}}, added => []}) if $found->{lost};
  push(
    @lost,
    {
      field_name => 'flagtypes.name',
      removed    => [
        map { flag_item("$_->{name}$_->{status}", $logins->person($_->{requestee_id})) }
          @{$found->{flags}}
      ],
      added => [],
    }
  ) if $found->{flags};
  return @lost;
}

sub _cleared {
  my ($logins, $found) = @_;
  return flags_done($logins,
    [map { {row => $_, status => CLEARED} } @{$found->{flags} || []}]);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::HistoryRow - collects what the tables and the
history show, for the module that decides

=head1 DESCRIPTION

The counterpart of L<Bugzilla::Extension::SourcePulse::RecordBug> for changes
that no hook saw, and for rows that could only be written thin: the present
state, with the changes that the history has.
