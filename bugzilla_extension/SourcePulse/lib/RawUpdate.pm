# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::RawUpdate;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::BugNumbers qw();
use Bugzilla::Extension::SourcePulse::Changes    qw(name_of);
use Bugzilla::Extension::SourcePulse::Facts      qw(comment_counts flag_rows);
use Bugzilla::Extension::SourcePulse::Flags      qw(flag_changes flags_of_bug);
use Bugzilla::Extension::SourcePulse::Json       qw(number text);
use Bugzilla::Extension::SourcePulse::Params
  qw(hidden_fields params_of_views publishes_hidden restricted);
use Bugzilla::Extension::SourcePulse::Redaction qw(is_public_change);
use Bugzilla::Extension::SourcePulse::Snapshot  qw(
  bug_snapshot changed_parts comment_snapshot custom_fields
  hidden_comment_snapshot is_about_bug mentions plain_changes
);
use Bugzilla::Extension::SourcePulse::Times      qw(time_text);
use Bugzilla::Extension::SourcePulse::Visibility qw(is_about_attachment);

use base qw(Exporter);
our @EXPORT_OK = qw(old_place raw_update);

# What drain.pl makes the views of an update of, as plain data, or undef if no
# stream has anything of it. UPDATE: the arguments of the hook, with flags_before,
# comments, toggled and who. MORE: as of read_more(). CASE: was and is.
#
# All that could be different later is stored. Unless there is a restricted
# stream, nothing is stored that the public stream never has.
sub raw_update {
  my ($update, $more, $case, $visibility) = @_;
  my ($bug, $old_bug) = @$update{qw(bug old_bug)};

  # What a bug was while it was private is never public, nor who made it public.
  my $has_past = $case->{was} || restricted();
  my @custom   = _custom_fields();
  my $changes  = $has_past ? _changes($update->{changes}, @custom) : {};
  my ($before, $after) = _flags($update, $has_past);
  _decide_attachments($visibility, $update, $before, $after) if $case->{is};
  if (!restricted()) {
    @$_ = grep { _is_public_part($visibility, $_->{attach_id}) } @$_
      foreach $before, $after;
  }
  my $raw = {
    (map { $_ => $more->{$_} } qw(place classification is_open was_open)),
    case         => $case,
    params       => params_of_views(),
    time         => time_text($update->{timestamp}),
    who          => $has_past ? $update->{who} : undef,
    old_place    => old_place($more, $changes),
    custom       => {map { $_->{name} => $_->{type} + 0 } @custom},
    bug          => bug_snapshot($bug, @custom),
    old          => changed_parts($old_bug, $changes, @custom),
    changes      => plain_changes($changes, @custom),
    flags_before => $before,
    flags_after  => $after,
    new_comments => _new_comments($update, $more, $visibility),
    toggled      => _toggled($update, $case, $visibility),
    logins       => _logins(
      $has_past ? Bugzilla->user : (),
      @{$bug->cc_users},
      $changes->{cc} ? @{$old_bug->cc_users} : ()
    ),
  };
  return undef if $case->{was} && $case->{is} && !restricted() && _is_empty($raw);
  _decide_bugs($visibility, $raw, @custom) if $case->{is};
  $raw->{decided} = $visibility->decided;
  return $raw;
}

# Where the bug was before CHANGES, as Bugzilla's hook has them.
sub old_place {
  my ($more,    $changes)   = @_;
  my ($product, $component) = @{$more->{place}};
  return [
    $changes->{product}   ? text($changes->{product}->[0])   : $product,
    $changes->{component} ? text($changes->{component}->[0]) : $component
  ];
}

sub _custom_fields {
  return custom_fields() if restricted();
  my $hidden = hidden_fields();
  return grep { !$hidden->{$_->{name}} } custom_fields();
}

sub _changes {
  my ($changes, @custom) = @_;
  return $changes if restricted();
  my %custom = map { $_->{name} => 1 } @custom;
  return {map { $_ => $changes->{$_} }
      grep { $custom{$_} || is_public_change(name_of($_)) } keys %$changes};
}

# Of attachments only the flags that were set or cleared, because the views have
# no others.
sub _flags {
  my ($update, $has_past) = @_;
  my ($bug, $old_bug, $before) = @$update{qw(bug old_bug flags_before)};
  my $after = $before ? flags_of_bug($bug->id) : flag_rows(@{$bug->flags});
  return ([], [grep { !$_->{attach_id} } @$after]) unless $has_past;
  return (flag_rows(@{$old_bug->flags}), $after)   unless $before;
  my %done
    = map { $_->{row}->{id} => 1 } @{flag_changes($before, $after)->{done}};
  return map { [grep { !$_->{attach_id} || $done{$_->{id}} } @$_] } $before,
    $after;
}

sub _is_empty {
  my ($raw) = @_;
  return
       !%{$raw->{changes}}
    && !@{$raw->{new_comments}}
    && !@{$raw->{toggled}}
    && !@{flag_changes(@$raw{qw(flags_before flags_after)})->{done}};
}

# -- comments

# The new comments are the last ones.
sub _new_comments {
  my ($update, $more, $visibility) = @_;
  my $count = $more->{comments} - @{$update->{comments}};
  my @snapshots;
  foreach my $comment (@{$update->{comments}}) {
    push(@snapshots, {%{comment_snapshot($comment)}, count => $count})
      if restricted() || _is_public_comment($visibility, $comment, $count);
    $count++;
  }
  return \@snapshots;
}

# As Redaction decides it of a comment's fact.
sub _is_public_comment {
  my ($visibility, $comment, $count) = @_;
  return 0 if $comment->{isprivate};
  return 0 if $count && !$comment->{type} && text($comment->{thetext}) eq '';
  return _is_public_part($visibility,
    is_about_attachment($comment->{type}) ? $comment->{extra_data} : undef);
}

sub _toggled {
  my ($update, $case, $visibility) = @_;
  my @toggled = @{$update->{toggled}};
  if (!restricted()) {
    return [] unless $case->{was};
    @toggled = grep {
      $_->{isprivate} ? publishes_hidden() : _is_public_comment($visibility, $_, 0)
    } @toggled;
  }
  return [] unless @toggled;
  my $counts = comment_counts($update->{bug}->id);
  return [
    map { {
      %{$_->{isprivate} ? hidden_comment_snapshot($_) : comment_snapshot($_)},
        count => $counts->{$_->{comment_id}},
    } } @toggled
  ];
}

# -- people

# The public stream never has a whole login.
sub _logins {
  my %login = map { $_->id => $_->login } @_;
  return \%login if restricted();
  my $has_names = !Bugzilla->params->{usevisibilitygroups};
  foreach my $login (values %login) {
    ($login) = $has_names ? $login =~ /\A([^\@]*)/ : undef;
  }
  return \%login;
}

# -- what is public now

sub _is_public_part {
  my ($visibility, $attachment) = @_;
  return !defined $attachment || $visibility->is_public_attachment($attachment);
}

# Reads with one statement which of the mentioned attachments are public.
sub _decide_attachments {
  my ($visibility, $update, @flags) = @_;
  my @about = grep { is_about_attachment($_->{type}) }
    map { @{$update->{$_}} } qw(comments toggled);
  $visibility->decide_attachments(grep {defined}
      (map { $_->{attach_id} } map {@$_} @flags),
    map { number($_->{extra_data}) } @about);
  return;
}

# The same of the mentioned bugs.
sub _decide_bugs {
  my ($visibility, $raw, @custom) = @_;
  my @bugs     = @$raw{qw(bug old)};
  my @comments = map { @{$raw->{$_}} } qw(new_comments toggled);
  my ($fields, @parts) = mentions(\@bugs, \@comments, @custom);
  return unless @parts;
  my $numbers
    = Bugzilla::Extension::SourcePulse::BugNumbers->new($visibility, @$fields);
  $numbers->prepare(@parts);
  return if restricted();

  foreach my $bug (@bugs) {
    $bug->{$_} = $numbers->public($_, $bug->{$_})
      foreach grep { $numbers->are_in($_) } keys %$bug;
  }
  $_->{extra_data} = $numbers->public('dupe_bug_id', $_->{extra_data})
    foreach grep { is_about_bug($_->{type}) } @comments;
  my $change = $raw->{changes}->{dup_id};
  $_ = $numbers->public('dupe_of', $_) foreach @{$change || []};
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::RawUpdate - what is stored of an update of a
bug, in its transaction

=head1 DESCRIPTION

L<Bugzilla::Extension::SourcePulse::FillUpdate> makes the views of it, and
F<PROTOCOL.md> describes it. Parts that no view can have are left out here, so
that they are not in the table; what is left is still redacted by
L<Bugzilla::Extension::SourcePulse::View>.
