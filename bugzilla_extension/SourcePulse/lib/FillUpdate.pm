# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::FillUpdate;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Changes       qw(bug_changes);
use Bugzilla::Extension::SourcePulse::Database      qw(handle);
use Bugzilla::Extension::SourcePulse::DatabaseError qw(is_fatal reason_of);
use Bugzilla::Extension::SourcePulse::Facts         qw(
  bug_fact comment_fact flags_done people_of_bug people_of_flags
);
use Bugzilla::Extension::SourcePulse::Flags qw(flag_changes);
use Bugzilla::Extension::SourcePulse::Json
  qw(decode_json_text encode_json_text truth);
use Bugzilla::Extension::SourcePulse::Logins     qw();
use Bugzilla::Extension::SourcePulse::Snapshot   qw(RAW_VERSION);
use Bugzilla::Extension::SourcePulse::View       qw(PAYLOAD_VERSION row);
use Bugzilla::Extension::SourcePulse::Visibility qw();

use base qw(Exporter);
our @EXPORT_OK = qw(fill_update);

# Replaces what the hook of an update stored by the views of the streams. If they
# cannot be made, the sidecar buries the row, which keeps what was stored. Returns
# whether the row is such an update, or may be one.
sub fill_update {
  my ($row) = @_;

  # Any other payload is recognized without decoding it.
  return 0 unless index($row->{payload}, '"raw"') >= 0;
  my ($is_other, $payload);
  my $is_read = eval {
    my $stored = decode_json_text($row->{payload});
    $is_other = ref $stored ne 'HASH' || !exists $stored->{raw};
    $payload  = encode_json_text(_with_views($row, $stored)) unless $is_other;
    1;
  };
  my $error = $@;
  return 0 if $is_read && $is_other;
  if (!defined $payload) {
    die $error if is_fatal(handle(), $error);
    my $reason = reason_of($error);
    warn "SourcePulse: no views can be made of row $row->{id}: $reason\n";
    $payload = encode_json_text({v => PAYLOAD_VERSION, thin => $reason});
  }
  $row->{payload} = $payload;
  return 1;
}

# Under the parameters and the decisions of the moment of the change.
sub _with_views {
  my ($row, $stored) = @_;
  die "it is of a version that this extension does not know\n"
    unless ($stored->{v} || 0) == RAW_VERSION
    && defined $stored->{at}
    && ref $stored->{raw} eq 'HASH';
  my $raw    = $stored->{raw};
  my $params = Bugzilla->params;
  local @$params{keys %{$raw->{params}}} = values %{$raw->{params}};

  # Fields can be removed, or return with another type.
  my $custom = $raw->{custom} || {};
  $raw->{custom}
    = [map { {name => $_, type => $custom->{$_}} } sort keys %$custom];
  my $made = row({
    %{$raw->{case}},
    custom     => $raw->{custom},
    kind       => $row->{kind},
    bug_id     => $row->{bug_id},
    visibility =>
      Bugzilla::Extension::SourcePulse::Visibility->new_decided($raw->{decided}),
    full => sub { _full_update($raw) },
  });
  return {
    v           => PAYLOAD_VERSION,
    at          => $stored->{at},
    activity    => $stored->{activity},
    transaction => $stored->{transaction},
    views       => $made ? $made->{payload}->{views} : {},
  };
}

sub _full_update {
  my ($raw) = @_;
  my ($bug, $changes) = @$raw{qw(bug changes)};
  my $flags  = flag_changes(@$raw{qw(flags_before flags_after)});
  my $more   = {%$raw, flags => $flags->{after}};
  my $logins = _logins($raw, $more);
  return {
    place     => $raw->{place},
    old_place => $raw->{old_place},
    was_open  => truth($raw->{was_open}),
    bug       => bug_fact($logins, $bug, $more, $raw->{time}),
    comments  =>
      [map { comment_fact($logins, $_, $_->{count}) } @{$raw->{new_comments}}],
    who     => $logins->person($raw->{who}),
    changes =>
      bug_changes($logins, $bug, $raw->{old}, $changes, $flags, $raw->{custom}),
    flags            => flags_done($logins, $flags->{done}),
    comments_toggled => [
      map { {
        comment   => comment_fact($logins, $_, $_->{count}),
        is_hidden => $_->{isprivate} ? 1 : 0,
        part_was  => 1
      } } @{$raw->{toggled}}
    ],
  };
}

# The people whom the hook did not know are read together.
sub _logins {
  my ($raw, $more) = @_;
  my $logins
    = Bugzilla::Extension::SourcePulse::Logins->new_known($raw->{logins});
  $logins->fetch(
    $raw->{who},
    people_of_bug($raw->{bug}, $more),
    people_of_flags(@{$raw->{flags_before}}),
    @{$raw->{old}}{qw(assigned_to qa_contact)},
    map { $_->{who} } @{$raw->{toggled}}
  );
  return $logins;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::FillUpdate - makes the views of updates from
what their hook stored

=head1 DESCRIPTION

What was public, of the bug and of all that it mentions, was decided in the
transaction of the change and is stored with it, as are the parameters. Here
nothing is decided; L<Bugzilla::Extension::SourcePulse::View> writes it out.
