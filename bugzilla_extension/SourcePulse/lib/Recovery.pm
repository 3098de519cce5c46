# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Recovery;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Attachment;
use Bugzilla::Bug;
use Bugzilla::Status qw(is_open_state);

use Bugzilla::Extension::SourcePulse::Audience;
use Bugzilla::Extension::SourcePulse::Database qw(handle select_in);
use Bugzilla::Extension::SourcePulse::Event;
use Bugzilla::Extension::SourcePulse::Facts;
use Bugzilla::Extension::SourcePulse::History;
use Bugzilla::Extension::SourcePulse::Logins;
use Bugzilla::Extension::SourcePulse::Outbox;
use Bugzilla::Extension::SourcePulse::Params;
use Bugzilla::Extension::SourcePulse::Values qw(decode_json_text encode_json_text epoch number text truth);
use Bugzilla::Extension::SourcePulse::Visibility;

# Numbers become visible later than they are given, so what is younger is looked at again.
use constant SETTLED_SECONDS => 3600;

# The tables that are walked, each with what its rows are called here, their number and their time.
my @WALKS = (
  {mark => 'bug',        table => 'bugs',          id => 'bug_id',     time => 'creation_ts', make => \&_created_bug},
  {mark => 'attachment', table => 'attachments',   id => 'attach_id',  time => 'creation_ts', make => \&_created_attachment},
  {mark => 'comment',    table => 'longdescs',     id => 'comment_id', time => 'bug_when',    make => \&_created_comment},
  {mark => 'activity',   table => 'bugs_activity', id => 'id',         time => 'bug_when',    make => \&_update},
);

sub tips {
  my %marks = (public_since => Bugzilla::Extension::SourcePulse::Visibility::site_is_public() ? 0 : _now());
  foreach my $walk (@WALKS) {
    my ($last) = handle()->selectrow_array("SELECT MAX($walk->{id}) FROM $walk->{table}");
    $marks{$walk->{mark}} = ($last || 0) + 0;
  }
  return \%marks;
}

# One page behind the marks. The caller goes on with the marks of the answer as long as it says "more"; the marks to keep are
# those of the last page, which stop before what is not settled.
sub page {
  my ($marks, $count) = @_;
  my %at = map { $_->{mark} => _mark($marks, $_->{mark}) } @WALKS;
  my %kept = map { $_->{mark} => _mark($marks->{kept} || $marks, $_->{mark}) } @WALKS;
  my $context = {
    # Whoever could not see anything then shall not read now what was done.
    public_since => _mark($marks, 'public_since'),
    doubt_until  => Bugzilla::Extension::SourcePulse::History::last_group_deletion(),
    visibility   => Bugzilla::Extension::SourcePulse::Visibility->new,
  };
  $context->{public_since} = _now() unless Bugzilla::Extension::SourcePulse::Visibility::site_is_public();
  my $settled = _now() - SETTLED_SECONDS;
  my (@rows, $more);
  foreach my $walk (@WALKS) {
    my $found = handle()->selectall_arrayref("SELECT $walk->{id} AS row_id, $walk->{time} AS row_time FROM $walk->{table}
        WHERE $walk->{id} > ? ORDER BY $walk->{id} " . Bugzilla->dbh->sql_limit($count + 1), {Slice => {}}, $at{$walk->{mark}});
    $more = 1 if @$found > $count;
    $#$found = $count - 1 if @$found > $count;
    next unless @$found;
    push(@rows, $walk->{make}->($context, map { $_->{row_id} } @$found));
    # What lies behind a row that is not settled is not settled either.
    my $goes_on = $kept{$walk->{mark}} == $at{$walk->{mark}};
    $at{$walk->{mark}} = $found->[-1]->{row_id} + 0;
    foreach my $row ($goes_on ? @$found : ()) {
      last if (epoch($row->{row_time}) || 0) > $settled;
      $kept{$walk->{mark}} = $row->{row_id} + 0;
    }
  }
  my %next = (%at, public_since => $context->{public_since}, kept => {%kept, public_since => $context->{public_since}});
  return {rows => \@rows, marks => $more ? \%next : $next{kept}, more => truth($more)};
}

sub _mark {
  my ($marks, $name) = @_;
  return number($marks->{$name}) || 0;
}

sub _now {
  my ($now) = handle()->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  return epoch($now);
}

# -- rows of the outbox that only say that something happened

# Puts the facts into a thin row, as they are now. The row says whether it was public when it was written. If that cannot be
# done it stays as it is, and the sidecar sets it aside.
sub fill_thin_row {
  my ($row) = @_;
  # The form that thin rows have; any other text is told apart without reading it.
  return unless index($row->{payload}, '"thin"') >= 0;
  my $thin = eval { decode_json_text($row->{payload}) };
  return unless ref $thin eq 'HASH' && defined $thin->{thin};
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $payload = eval {
    my $filled = _filled($visibility, $row, $thin) || {views => {}};
    encode_json_text({
      v => Bugzilla::Extension::SourcePulse::Event::VERSION, recovered => \1,
      (map { $_ => $thin->{$_} } qw(at activity first_row)), views => $filled->{views},
    });
  };
  my $error = $@;
  if (defined $payload) {
    $row->{payload} = $payload;
  }
  elsif (Bugzilla::Extension::SourcePulse::Outbox::is_fatal(handle(), $error)) {
    die $error;
  }
  else {
    my ($line) = split(/\n/, "$error");
    warn "SourcePulse: row $row->{id} holds no facts and they cannot be read: $line\n";
  }
  return;
}

sub _filled {
  my ($visibility, $row, $thin) = @_;
  if ($row->{kind} eq 'attachment.create') {
    my $attachment = Bugzilla::Attachment->new($thin->{attachment}) or return undef;
    return _attachment_views($visibility, $attachment, [], $thin->{was} && $thin->{is});
  }
  if ($row->{kind} eq 'attachment.update') {
    my $attachment = Bugzilla::Attachment->new($thin->{attachment}) or return undef;
    my $lines = _lines('bugs_activity.attach_id = ? AND bugs_activity.id <= ? AND bugs_activity.bug_when = '
        . '(SELECT bug_when FROM bugs_activity WHERE id = ?)', $thin->{attachment}, ($thin->{activity} || 0) x 2);
    return _attachment_views($visibility, $attachment, $lines, $thin->{was} && $thin->{is});
  }
  if ($row->{kind} eq 'bug.delete') {
    my $view = {place => $thin->{place}, id => $row->{bug_id} + 0, creation_time => $thin->{creation_time}};
    return {views => _views($thin->{was} ? $view : undef, sub {$view})};
  }
  my $bug = _bug($row->{bug_id}) or return undef;
  if ($row->{kind} eq 'bug.create') {
    return {views => _created_views($visibility, $bug, $thin->{is})};
  }
  my $lines = $thin->{activity}
    ? _lines('bugs_activity.bug_id = ? AND bugs_activity.attach_id IS NULL AND bugs_activity.id <= ? AND bugs_activity.bug_when = '
      . '(SELECT bug_when FROM bugs_activity WHERE id = ?)', $row->{bug_id}, ($thin->{activity}) x 2)
    : [];
  my $comments = _comment_rows(@{$thin->{comments} || []});
  return {views => _update_views($visibility, $bug, $lines, $comments, $thin->{was}, $thin->{is})};
}

# -- what the tables say

sub _created_bug {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $id (@ids) {
    my $bug = _bug($id) or next;
    my $at = epoch($bug->{creation_ts}) or next;
    my $was = _public_since($context, $id, $at);
    push(@rows, _row('bug.create', $id, $bug->{creation_ts}, undef, [], _created_views($context->{visibility}, $bug, $was)));
  }
  return @rows;
}

sub _created_attachment {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $attachment (@{Bugzilla::Attachment->new_from_list([@ids])}) {
    my $at  = epoch($attachment->{creation_ts}) or next;
    my $was = _public_since($context, $attachment->{bug_id}, $at)
      && !_toggled('bugs_activity.attach_id = ? AND fielddefs.name = ?', $attachment->id, 'attachments.isprivate');
    push(@rows, _row('attachment.create', $attachment->{bug_id}, $attachment->{creation_ts}, undef, [],
        _attachment_views($context->{visibility}, $attachment, [], $was)->{views}));
  }
  return @rows;
}

sub _created_comment {
  my ($context, @ids) = @_;
  my @rows;
  foreach my $comment (@{_comment_rows(@ids)}) {
    my $bug = _bug($comment->{bug_id}) or next;
    my $was = _public_since($context, $comment->{bug_id}, epoch($comment->{bug_when}) || 0)
      && !_toggled('bugs_activity.comment_id = ? AND fielddefs.name = ?', $comment->{comment_id}, 'longdescs.isprivate');
    push(@rows, _row('bug.update', $comment->{bug_id}, $comment->{bug_when}, undef, [],
        _update_views($context->{visibility}, $bug, [], [$comment], $was, $was)));
  }
  return @rows;
}

sub _update {
  my ($context, @ids) = @_;
  my (%updates, @order);
  # An update can lie on both sides of the end of a page, so all its lines are read.
  my $heads = select_in('SELECT DISTINCT bug_id, bug_when, who, attach_id FROM bugs_activity WHERE id', @ids);
  my @rows;
  foreach my $head (@$heads) {
    my ($bug_id, $when, $who, $attach_id) = @$head;
    my $lines = _lines('bugs_activity.bug_id = ? AND bugs_activity.bug_when = ? AND bugs_activity.who = ? AND bugs_activity.attach_id '
        . (defined $attach_id ? '= ?' : 'IS NULL'), $bug_id, $when, $who, defined $attach_id ? $attach_id : ());
    my $at   = epoch($when) || 0;
    my $last = $lines->[-1]->{id};
    if (defined $attach_id) {
      my $attachment = Bugzilla::Attachment->new($attach_id) or next;
      my $was = _public_since($context, $bug_id, $at);
      my $views = _attachment_views($context->{visibility}, $attachment, $lines, $was)->{views};
      push(@rows, _row('attachment.update', $bug_id, $when, $last, $lines, $views));
      next;
    }
    my $bug = _bug($bug_id) or next;
    my ($was, $is) = $at <= $context->{public_since} || $at <= $context->{doubt_until}
      ? ()
      : Bugzilla::Extension::SourcePulse::History::public_around($bug_id, $lines, $context->{visibility}->is_public_bug($bug_id));
    push(@rows, _row('bug.update', $bug_id, $when, $last, $lines,
        _update_views($context->{visibility}, $bug, $lines, [], $was, $is)));
  }
  return sort { $a->{activities}->[0] <=> $b->{activities}->[0] } grep { @{$_->{activities}} } @rows;
}

# Whether a bug was public at that time and never since anything else.
sub _public_since {
  my ($context, $bug_id, $at) = @_;
  return 0 if $at <= $context->{public_since} || $at <= $context->{doubt_until};
  return 0 unless $context->{visibility}->is_public_bug($bug_id);
  my $lines = _lines('bugs_activity.bug_id = ? AND fielddefs.name = ?', $bug_id,
    Bugzilla::Extension::SourcePulse::History::GROUP_FIELD);
  return (grep { (epoch($_->{bug_when}) || 0) >= $at } @$lines) ? 0 : 1;
}

sub _toggled { return scalar @{_lines(@_)}; }

sub _lines {
  my ($where, @values) = @_;
  return handle()->selectall_arrayref(
    "SELECT bugs_activity.id, bugs_activity.bug_when, bugs_activity.who, bugs_activity.comment_id, bugs_activity.removed,
            bugs_activity.added, fielddefs.name
       FROM bugs_activity INNER JOIN fielddefs ON fielddefs.id = bugs_activity.fieldid
      WHERE $where ORDER BY bugs_activity.id", {Slice => {}}, @values);
}

sub _bug {
  my ($id) = @_;
  my $bug = Bugzilla::Bug->new($id);
  return $bug && !$bug->{error} ? $bug : undef;
}

sub _comment_rows {
  my (@ids) = @_;
  my @names = qw(comment_id bug_id who bug_when thetext isprivate type extra_data);
  my $rows = select_in('SELECT ' . join(', ', @names) . ' FROM longdescs WHERE comment_id', @ids);
  return [map { my %row; @row{@names} = @$_; \%row } sort { $a->[0] <=> $b->[0] } @$rows];
}

sub _row {
  my ($kind, $bug_id, $time, $activity, $lines, $views) = @_;
  return () unless %$views;
  return {
    kind       => $kind,
    bug_id     => $bug_id + 0,
    created_ts => text($time),
    activities => [map { $_->{id} + 0 } @$lines],
    payload    => encode_json_text({
      v         => Bugzilla::Extension::SourcePulse::Event::VERSION,
      recovered => \1,
      at        => epoch($time),
      activity  => number($activity),
      first_row => undef,
      views     => $views,
    }),
  };
}

# -- the views, from what stands in the database now

sub _views {
  my ($public, $restricted) = @_;
  my %views;
  $views{public}     = $public if $public;
  $views{restricted} = $restricted->() if Bugzilla::Extension::SourcePulse::Params::restricted();
  return \%views;
}

sub _audiences {
  my ($visibility) = @_;
  my $logins = Bugzilla::Extension::SourcePulse::Logins->new;
  return (Bugzilla::Extension::SourcePulse::Audience->of_everyone($logins, $visibility),
    Bugzilla::Extension::SourcePulse::Audience->of_the_trusted($logins));
}

sub _more {
  my ($bug) = @_;
  my $more = Bugzilla::Extension::SourcePulse::Facts::read_more($bug->id);
  $more->{flags} = Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$bug->flags});
  return $more;
}

sub _created_views {
  my ($visibility, $bug, $was_public) = @_;
  my $more = _more($bug);
  my ($everyone, $trusted) = _audiences($visibility);
  my $view = sub {
    my ($audience) = @_;
    return {
      place    => $more->{place},
      who      => $audience->person($bug->{reporter_id}),
      bug      => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $more, $bug->{delta_ts}),
      comments => [],
      flags    => [],
    };
  };
  return _views($was_public && $visibility->is_public_bug($bug->id) ? $view->($everyone) : undef, sub { $view->($trusted) });
}

sub _update_views {
  my ($visibility, $bug, $lines, $comments, $was, $is) = @_;
  my $more   = _more($bug);
  my $fields = Bugzilla::Extension::SourcePulse::History::fields($lines);
  my ($first) = map { $_->{id} } @$lines;
  my $old_place
    = $first
    ? Bugzilla::Extension::SourcePulse::History::place_before($bug->id, $first, $more->{place})
    : $more->{place};
  my $status = $fields->{bug_status};
  # A later update may have changed it again; then that one tells.
  my $was_open = $status && $status->[1] eq text($bug->{bug_status}) ? is_open_state($status->[0]) : $more->{is_open};
  my $moved    = $fields->{product} || $fields->{component};
  my $who      = @$lines ? $lines->[0]->{who} : undef;
  my @toggles  = grep { $_->{name} eq 'longdescs.isprivate' && $_->{comment_id} } @$lines;
  my $toggled  = {map { $_->{comment_id} => $_ } @{_comment_rows(map { $_->{comment_id} } @toggles)}};
  my ($everyone, $trusted) = _audiences($visibility);
  my $view = sub {
    my ($audience, $transition, $with_old) = @_;
    my $may = sub { !$audience->is_public || $visibility->is_public_comment($_[0]) };
    my @now = map { $toggled->{$_->{comment_id}} || () } @toggles;
    return {
      place      => $more->{place},
      old_place  => $moved ? $old_place : $more->{place},
      transition => $transition,
      was_open   => truth($was_open),
      bug        => Bugzilla::Extension::SourcePulse::Facts::bug($audience, $bug, $more, $bug->{delta_ts}),
      who        => $with_old ? $audience->person($who) : undef,
      changes    => $with_old ? Bugzilla::Extension::SourcePulse::History::changes($audience, $fields) : [],
      flags      => [],
      comments   => [map { Bugzilla::Extension::SourcePulse::Facts::comment($audience, $_) } grep { $may->($_) } @$comments],
      comments_hidden => $with_old ? [map { $_->{comment_id} + 0 } grep { $_->{isprivate} } @now] : [],
      comments_published => $with_old
      ? [map { Bugzilla::Extension::SourcePulse::Facts::comment($audience, $_) } grep { !$_->{isprivate} && $may->($_) } @now]
      : [],
    };
  };
  my $public;
  my $now = $visibility->is_public_bug($bug->id);
  if (defined $was && defined $is) {
    if ($was && $is && $now) {
      $public = $view->($everyone, undef, 1);
      $public = undef unless grep { @{$public->{$_}} } qw(changes comments comments_hidden comments_published);
    }
    elsif (!$was && $is && $now) {
      $public = $view->($everyone, Bugzilla::Extension::SourcePulse::Event::PUBLISHED, 0);
    }
    elsif ($was && !$is && Bugzilla::Extension::SourcePulse::Params::tell_hidden()) {
      $public = {place => $old_place, old_place => $old_place, transition => Bugzilla::Extension::SourcePulse::Event::HIDDEN,
        id => number($bug->id)};
    }
  }
  my $transition
    = !defined $was || !defined $is || !!$was == !!$is ? undef
    : $is                                              ? Bugzilla::Extension::SourcePulse::Event::PUBLISHED
    :                                                    Bugzilla::Extension::SourcePulse::Event::HIDDEN;
  return _views($public, sub { $view->($trusted, $transition, 1) });
}

sub _attachment_views {
  my ($visibility, $attachment, $lines, $bug_was_public) = @_;
  my $more    = Bugzilla::Extension::SourcePulse::Facts::read_more($attachment->{bug_id});
  my $flags   = Bugzilla::Extension::SourcePulse::Facts::flag_rows(@{$attachment->flags});
  my $fields  = Bugzilla::Extension::SourcePulse::History::fields($lines);
  my $toggle  = $fields->{isprivate};
  my $private = $attachment->{isprivate} ? 1 : 0;
  my $transition
    = !$toggle            ? undef
    : $toggle->[1] eq '1' ? Bugzilla::Extension::SourcePulse::Event::HIDDEN
    :                       Bugzilla::Extension::SourcePulse::Event::PUBLISHED;
  my ($everyone, $trusted) = _audiences($visibility);
  my $view = sub {
    my ($audience, $with_old) = @_;
    my $who = @$lines ? $lines->[0]->{who} : $attachment->{submitter_id};
    return {
      place      => $more->{place},
      who        => $with_old ? $audience->person($who) : undef,
      attachment => Bugzilla::Extension::SourcePulse::Facts::attachment($audience, $attachment, $flags, $attachment->{modification_time}),
      @$lines
      ? (
        transition => $transition,
        changes    => $with_old ? Bugzilla::Extension::SourcePulse::History::changes($audience, $fields) : [],
        flags      => [],
        )
      : (),
    };
  };
  my $public;
  if ($bug_was_public && $visibility->is_public_bug($attachment->{bug_id})) {
    if (!$private) {
      # A later line may have made it public; what was done to it before is not told.
      my $was_private = @$lines && _toggled('bugs_activity.attach_id = ? AND fielddefs.name = ? AND bugs_activity.id > ?',
        $attachment->id, 'attachments.isprivate', $lines->[-1]->{id});
      $public = $view->($everyone, !$transition) unless $was_private;
    }
    elsif (($transition || '') eq Bugzilla::Extension::SourcePulse::Event::HIDDEN
      && Bugzilla::Extension::SourcePulse::Params::tell_hidden())
    {
      $public = {place => $more->{place}, transition => $transition, id => number($attachment->id),
        bug_id => number($attachment->{bug_id})};
    }
  }
  return {views => _views($public, sub { $view->($trusted, 1) })};
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Recovery - rows made of what Bugzilla itself recorded

=head1 DESCRIPTION

For changes that no hook carries (group controls, the other side of a dependency, imports, deleted users) and for rows that could only be written
thin. They say how things are now, with the changes as the history has them. A public view is given only where the change was public when it was made, and
all is public still; where a group was deleted or changed since, or the site was closed, nobody can tell, and there is none.

=head1 FUNCTIONS

=over

=item C<tips>

Marks at the end of all tables.

=item C<page MARKS, COUNT>

The next COUNT rows of each table behind the marks, as F<PROTOCOL.md> says.

=item C<fill_thin_row ROW>

Replaces the payload of a thin row.

=back
