# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Facts;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants
  qw(FIELD_TYPE_BUG_ID FIELD_TYPE_DATETIME FIELD_TYPE_MULTI_SELECT);

use Bugzilla::Extension::SourcePulse::Database
  qw(select_column select_name select_row select_value);
use Bugzilla::Extension::SourcePulse::Json qw(cut_text number text truth);
use Bugzilla::Extension::SourcePulse::Snapshot
  qw(CMT_DUPE_OF CMT_HAS_DUPE custom_fields);
use Bugzilla::Extension::SourcePulse::Times      qw(time_text);
use Bugzilla::Extension::SourcePulse::Visibility qw(is_about_attachment);

use base qw(Exporter);
our @EXPORT_OK = qw(
  TYPE_DATE TYPE_INTEGER attachment_fact bug_fact comment_counts comment_fact custom_value
  flag_rows flags_done people_of_bug people_of_flags place_of read_more
);

# Bugzilla 5.0.4 has no names for these.
use constant {TYPE_DATE => 9, TYPE_INTEGER => 10};

# The type of a comment by Bugzilla's number; 3 and 4 belong to extensions.
my @COMMENT_TYPES
  = qw(normal dupe_of has_dupe popular_votes moved_to attachment_created attachment_updated);

# Data that a bug's object has not read, with one statement. UPDATE: time and
# person of an update that wrote lines into Bugzilla's history, to find the last
# of them (when, who), and the status before one that changed it (old_status).
sub read_more {
  my ($bug_id, $update) = @_;
  my @since      = $update && $update->{when} ? @$update{qw(when who)} : ();
  my @old_status = $update ? grep {defined} $update->{old_status}      : ();

  # Separate statements for the names, because PostgreSQL needs longer to plan a
  # join than to read all of this.
  my ($product, $component, $classification, $is_open, $groups, $comments,
    $activity, $was_open)
    = select_row(
    'SELECT (SELECT name FROM products WHERE products.id = bugs.product_id),
            (SELECT name FROM components WHERE components.id = bugs.component_id),
            (SELECT classifications.name FROM classifications INNER JOIN products
              ON classifications.id = products.classification_id WHERE products.id = bugs.product_id),
            (SELECT is_open FROM bug_status WHERE bug_status.value = bugs.bug_status),
            (SELECT COUNT(*) FROM bug_group_map WHERE bug_group_map.bug_id = bugs.bug_id),
            (SELECT COUNT(*) FROM longdescs WHERE longdescs.bug_id = bugs.bug_id),
            '
      . (
      @since
      ? '(SELECT MAX(id) FROM bugs_activity
            WHERE bugs_activity.bug_id = bugs.bug_id AND bug_when = ? AND who = ? AND attach_id IS NULL)'
      : 'NULL'
      )
      . ', '
      . (
      @old_status
      ? '(SELECT bug_status.is_open FROM bug_status WHERE bug_status.value = ?)'
      : 'NULL'
      )
      . ' FROM bugs WHERE bugs.bug_id = ?',
    @since,
    @old_status,
    $bug_id
    );
  die "bug $bug_id does not exist\n" unless defined $product;
  return {
    place          => [text($product), text($component)],
    classification => text($classification),
    is_open        => $is_open                             ? 1 : 0,
    was_open       => (@old_status ? $was_open : $is_open) ? 1 : 0,
    is_in_group    => $groups                              ? 1 : 0,
    comments       => $comments,
    activity       => number($activity),
  };
}

# The product and component of a bug according to its object; the database may
# have other ones by now.
sub place_of {
  my ($bug) = @_;
  return [
    text(select_name('products',   $bug->{product_id})),
    text(select_name('components', $bug->{component_id}))
  ];
}

# Columns of a bug that are published unchanged, by their names in REST.
my %TEXTS = (
  summary          => 'short_desc',
  version          => 'version',
  op_sys           => 'op_sys',
  platform         => 'rep_platform',
  priority         => 'priority',
  severity         => 'bug_severity',
  target_milestone => 'target_milestone',
  status           => 'bug_status',
  resolution       => 'resolution',
  whiteboard       => 'status_whiteboard',
  url              => 'bug_file_loc',
);
my @TEXT_NAMES   = keys %TEXTS;
my @TEXT_COLUMNS = @TEXTS{@TEXT_NAMES};

# BUG: a snapshot. TIME: of its last change, as events have it. MORE: as of read_more(), with flags, and with the custom fields
# unless they are the current ones.
sub bug_fact {
  my ($logins, $bug, $more, $time) = @_;
  my %fact;
  @fact{@TEXT_NAMES} = map { defined ? "$_" : '' } @$bug{@TEXT_COLUMNS};
  @fact{qw(id product_id component_id)}
    = map { $_ + 0 } @$bug{qw(bug_id product_id component_id)};
  @fact{qw(product component)} = @{$more->{place}};
  $fact{classification}        = $more->{classification};
  $fact{is_open}               = truth($more->{is_open});
  $fact{$_}          = $bug->{$_} || [] foreach qw(alias groups keywords);
  $fact{assigned_to} = $logins->person($bug->{assigned_to});
  $fact{qa_contact}
    = Bugzilla->params->{useqacontact}
    ? $logins->person($bug->{qa_contact})
    : undef;
  $fact{creator}    = $logins->person($bug->{reporter_id});
  $fact{cc}         = $logins->people(@{$bug->{cc} || []});
  $fact{dupe_of}    = number($bug->{dupe_of});
  $fact{depends_on} = [sort { $a <=> $b } @{$bug->{depends_on} || []}];
  $fact{blocks}     = [sort { $a <=> $b } @{$bug->{blocks}     || []}];
  $fact{see_also}   = [sort @{$bug->{see_also} || []}];
  $fact{flags}      = [map { flag_fact($logins, $_) }
      grep { !$_->{attach_id} } @{$more->{flags}}];
  $fact{creation_time}    = $bug->{creation_time};
  $fact{last_change_time} = $time;
  $fact{$_->{name}}       = custom_value($_, $bug)
    foreach $more->{custom} ? @{$more->{custom}} : custom_fields();
  return \%fact;
}

# All people mentioned in the facts of a bug.
sub people_of_bug {
  my ($bug, $more) = @_;
  return (@$bug{qw(assigned_to qa_contact reporter_id)},
    people_of_flags(@{$more->{flags}}));
}

sub people_of_flags {
  return map { @$_{qw(setter_id requestee_id)} } @_;
}

# BUG: a snapshot.
sub custom_value {
  my ($field, $bug)  = @_;
  my ($value, $type) = ($bug->{$field->{name}}, $field->{type});
  return [map { text($_) } @{$value || []}] if $type == FIELD_TYPE_MULTI_SELECT;
  return number($value) || undef            if $type == FIELD_TYPE_BUG_ID;
  return number($value)                     if $type == TYPE_INTEGER;
  if ($type == FIELD_TYPE_DATETIME || $type == TYPE_DATE) {
    return undef if !defined $value || $value eq '';
    return $type == TYPE_DATE ? substr(text($value), 0, 10) : $value;
  }
  return text($value);
}

# COMMENT: one of Bugzilla's objects, a row with its columns, or a snapshot, whose
# text may have been cut.
sub comment_fact {
  my ($logins, $comment, $count) = @_;
  my ($text, $total) = cut_text(text($comment->{thetext}));
  $total = $comment->{text_bytes} unless defined $total;
  my $type = $comment->{type} || 0;
  my $fact = {
    id            => number($comment->{comment_id}),
    bug_id        => number($comment->{bug_id}),
    attachment_id => is_about_attachment($type) ? number($comment->{extra_data})
    : undef,
    dupe_bug_id => $type == CMT_DUPE_OF
      || $type == CMT_HAS_DUPE ? number($comment->{extra_data}) : undef,
    type          => $COMMENT_TYPES[$type] || "type $type",
    count         => defined $count ? $count : _count($comment),
    text          => $text,
    creator       => $logins->person($comment->{who}),
    creation_time => exists $comment->{creation_time} ? $comment->{creation_time}
    : time_text($comment->{bug_when}),
    is_private => truth($comment->{isprivate}),
  };
  $fact->{text_bytes} = $total if defined $total;
  return $fact;
}

# How many comments were written before each comment of a bug.
sub comment_counts {
  my ($bug_id) = @_;
  my @ids = select_column(
    'SELECT comment_id FROM longdescs WHERE bug_id = ? ORDER BY bug_when, comment_id',
    $bug_id
  );
  return {map { $ids[$_] => $_ } 0 .. $#ids};
}

# Bugzilla's own count merges two comments of the same second.
sub _count {
  my ($comment) = @_;
  return number(select_value(
    'SELECT COUNT(*) FROM longdescs WHERE bug_id = ? AND (bug_when < ? OR (bug_when = ? AND comment_id < ?))',
    @$comment{qw(bug_id bug_when bug_when comment_id)}
  ));
}

sub attachment_fact {
  my ($logins, $attachment, $flags, $timestamp) = @_;
  return {
    id               => number($attachment->id),
    bug_id           => number($attachment->{bug_id}),
    file_name        => text($attachment->{filename}),
    summary          => text($attachment->{description}),
    content_type     => text($attachment->{mimetype}),
    size             => number($attachment->datasize) || 0,
    is_patch         => truth($attachment->{ispatch}),
    is_obsolete      => truth($attachment->{isobsolete}),
    is_private       => truth($attachment->{isprivate}),
    creator          => $logins->person($attachment->{submitter_id}),
    creation_time    => time_text($attachment->{creation_ts}),
    last_change_time => time_text($timestamp),
    flags            => [map { flag_fact($logins, $_) } @$flags],
  };
}

# Flags as plain rows, because the objects of removed flags can no longer be
# queried.
sub flag_rows {
  return [
    sort { $a->{id} <=> $b->{id} } map { {
      id           => number($_->id),
      name         => text($_->name),
      type_id      => number($_->type_id),
      status       => text($_->status),
      setter_id    => $_->setter_id,
      requestee_id => $_->requestee_id,
      attach_id    => $_->attach_id,
    } } @_
  ];
}

sub flag_fact {
  my ($logins, $row) = @_;
  return {
    name      => $row->{name},
    type_id   => $row->{type_id},
    status    => $row->{status},
    setter    => $logins->person($row->{setter_id}),
    requestee => $logins->person($row->{requestee_id}),
  };
}

# The changes of flags, as flag_changes() lists them, each with the id of its
# attachment, if any.
sub flags_done {
  my ($logins, $done) = @_;
  return [
    map { {
      flag          => flag_fact($logins, $_->{row}),
      status        => $_->{status},
      attachment_id => number($_->{row}->{attach_id}),
    } } @$done
  ];
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Facts - bugs, comments, attachments and flags
as events have them

=head1 DESCRIPTION

Everything here is complete, with whole logins and all numbers;
L<Bugzilla::Extension::SourcePulse::View> decides what the public may get. The
functions return plain data for JSON, with the names of Bugzilla's REST API.
Data that Bugzilla has already read in this update is not read again.
