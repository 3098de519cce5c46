# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::FillThinRow;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Attachment qw();

use Bugzilla::Extension::SourcePulse::Database      qw(handle);
use Bugzilla::Extension::SourcePulse::DatabaseError qw(is_fatal reason_of);
use Bugzilla::Extension::SourcePulse::History       qw(history_lines);
use Bugzilla::Extension::SourcePulse::HistoryRow
  qw(attachment_row bug_by_id comment_rows created_row deleted_row updated_row);
use Bugzilla::Extension::SourcePulse::Json
  qw(decode_json_text encode_json_text);
use Bugzilla::Extension::SourcePulse::View       qw(PAYLOAD_VERSION);
use Bugzilla::Extension::SourcePulse::Visibility qw();

use base qw(Exporter);
our @EXPORT_OK = qw(fill_thin_row);

# Fills a thin row with the facts as they are now. The row records whether the
# bug was public when it was written. If it cannot be filled, the row stays
# thin, and the sidecar buries it.
sub fill_thin_row {
  my ($row) = @_;

  # The form of thin rows; any other payload is recognized without decoding
  # it.
  return unless index($row->{payload}, '"thin"') >= 0;
  my $thin = eval { decode_json_text($row->{payload}) };
  return unless ref $thin eq 'HASH' && defined $thin->{thin};
  my $payload = eval {
    my $filled = _filled($row, $thin);
    encode_json_text({
      v         => PAYLOAD_VERSION,
      recovered => \1,
      (map { $_ => $thin->{$_} } qw(at activity transaction)),
      views => $filled ? $filled->{payload}->{views} : {},
    });
  };
  my $error = $@;
  if (defined $payload) {
    $row->{payload} = $payload;
  }
  elsif (is_fatal(handle(), $error)) {
    die $error;
  }
  else {
    my $reason = reason_of($error);
    warn
      "SourcePulse: row $row->{id} contains no facts, and they cannot be read: $reason\n";
  }
  return;
}

sub _filled {
  my ($row, $thin) = @_;
  my $found = {
    visibility => Bugzilla::Extension::SourcePulse::Visibility->new,
    timestamp  => $row->{created_ts},
    lines      => _thin_lines($row, $thin),
    (map { $_ => $thin->{$_} ? 1 : 0 } qw(was is)),
    (
      map { $_ => $thin->{$_} } qw(who lost flags place old_place creation_time part)
    ),
  };
  return deleted_row($row->{bug_id}, $found) if $row->{kind} eq 'bug.delete';
  if ($row->{kind} =~ /\Aattachment\./) {
    my $attachment = Bugzilla::Attachment->new($thin->{attachment}) or return undef;
    return attachment_row($row->{kind}, $attachment, $found);
  }
  my $bug = bug_by_id($row->{bug_id}) or return undef;
  return created_row($bug, $found) if $row->{kind} eq 'bug.create';
  $found->{comments} = comment_rows(@{$thin->{comments} || []});
  return updated_row($bug, $found);
}

# The lines of this update and no others of the same second, because an earlier
# change may have been made while the bug was private.
sub _thin_lines {
  my ($row, $thin) = @_;
  return [] unless $thin->{first} && $thin->{activity} && $thin->{who};
  my $attachment = $thin->{attachment};
  return history_lines(
    'bugs_activity.bug_id = ? AND bugs_activity.who = ? AND bugs_activity.id >= ? AND bugs_activity.id <= ?'
      . ' AND bugs_activity.bug_when = (SELECT bug_when FROM bugs_activity WHERE id = ?)'
      . ' AND bugs_activity.attach_id '
      . (defined $attachment ? '= ?' : 'IS NULL'),
    $row->{bug_id},
    @$thin{qw(who first activity activity)},
    defined $attachment ? $attachment : ()
  );
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::FillThinRow - reads the facts of rows that
could only be written thin
