# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Facts;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants qw(FIELD_TYPE_BUG_ID FIELD_TYPE_BUG_URLS FIELD_TYPE_DATETIME FIELD_TYPE_MULTI_SELECT);
use Bugzilla::Status qw(is_open_state);
use Bugzilla::User;

use Bugzilla::Extension::SourcePulse::Values qw(cut_text number text time_text truth);
use Bugzilla::Extension::SourcePulse::Visibility;

# Bugzilla 5.0.4 has no names for these.
use constant {TYPE_DATE => 9, TYPE_INTEGER => 10};

sub bug {
  my ($audience, $bug, $timestamp) = @_;
  return {
    id               => number($bug->id),
    alias            => aliases($bug),
    summary          => text($bug->{short_desc}),
    classification   => text($bug->product_obj->classification->name),
    product          => text($bug->product_obj->name),
    product_id       => number($bug->{product_id}),
    component        => text($bug->component_obj->name),
    component_id     => number($bug->{component_id}),
    version          => text($bug->{version}),
    op_sys           => text($bug->{op_sys}),
    platform         => text($bug->{rep_platform}),
    priority         => text($bug->{priority}),
    severity         => text($bug->{bug_severity}),
    target_milestone => text($bug->{target_milestone}),
    status           => text($bug->{bug_status}),
    resolution       => text($bug->{resolution}),
    is_open          => truth(is_open($bug)),
    dupe_of          => $audience->bug_id($bug->dup_id),
    assigned_to      => $audience->person(user($bug->{assigned_to})),
    qa_contact       => $audience->person(qa_contact($bug)),
    creator          => $audience->person(user($bug->{reporter_id})),
    cc               => $audience->people(@{$bug->cc_users}),
    keywords         => keywords($bug),
    whiteboard       => text($bug->{status_whiteboard}),
    url              => text($bug->{bug_file_loc}),
    depends_on       => $audience->bug_ids(@{$bug->dependson}),
    blocks           => $audience->bug_ids(@{$bug->blocked}),
    see_also         => $audience->see_also(@{$bug->see_also}),
    flags            => [map { flag($audience, $_) } @{$bug->{sourcepulse_flags} || flag_rows(@{$bug->flags})}],
    groups           => $audience->groups($audience->is_public ? () : @{$bug->groups_in}),
    creation_time    => time_text($bug->{creation_ts}),
    last_change_time => time_text($timestamp),
    map { ($_->name => custom_value($audience, $_, $bug)) } custom_fields($audience),
  };
}

sub place {
  my ($bug) = @_;
  return [text($bug->product_obj->name), text($bug->component_obj->name)];
}

sub is_open { return is_open_state($_[0]->{bug_status}) ? 1 : 0; }

sub aliases {
  my ($bug) = @_;
  my $alias = $bug->alias;
  # One alias, or none, before Bugzilla 5.0.
  return [map { text($_) } ref $alias ? @$alias : grep { defined && length } $alias];
}

sub keywords { return [sort map { text($_->name) } @{$_[0]->keyword_objects}]; }

sub user {
  my ($id) = @_;
  return $id ? Bugzilla::User->new({id => $id, cache => 1}) : undef;
}

sub qa_contact {
  my ($bug) = @_;
  return Bugzilla->params->{useqacontact} ? user($bug->{qa_contact}) : undef;
}

sub custom_fields {
  my ($audience) = @_;
  return grep { $_->type != FIELD_TYPE_BUG_URLS && $audience->takes_field($_->name) } Bugzilla->active_custom_fields;
}

sub custom_value {
  my ($audience, $field, $bug) = @_;
  my ($name, $type) = ($field->name, $field->type);
  # Only lists are read when they are asked for.
  return [map { text($_) } @{$bug->$name || []}] if $type == FIELD_TYPE_MULTI_SELECT;
  my $value = $bug->{$name};
  return $audience->bug_id($value) if $type == FIELD_TYPE_BUG_ID;
  return number($value)            if $type == TYPE_INTEGER;
  if ($type == FIELD_TYPE_DATETIME || $type == TYPE_DATE) {
    return undef if !defined $value || $value eq '';
    return $type == TYPE_DATE ? substr(text($value), 0, 10) : time_text($value);
  }
  return text($value);
}

sub comment {
  my ($audience, $comment) = @_;
  my ($text, $total) = cut_text(text($comment->{thetext}));
  my $about = Bugzilla::Extension::SourcePulse::Visibility::is_about_attachment($comment->{type});
  my $fact = {
    id            => number($comment->{comment_id}),
    bug_id        => number($comment->{bug_id}),
    attachment_id => $about ? number($comment->{extra_data}) : undef,
    count         => _count($comment),
    text          => $text,
    creator       => $audience->person(user($comment->{who})),
    creation_time => time_text($comment->{bug_when}),
    is_private    => truth($comment->{isprivate}),
  };
  $fact->{text_bytes} = $total if defined $total;
  return $fact;
}

# Bugzilla's own count takes two comments of one second for the same.
sub _count {
  my ($comment) = @_;
  my ($count) = Bugzilla->dbh->selectrow_array(
    'SELECT COUNT(*) FROM longdescs WHERE bug_id = ? AND (bug_when < ? OR (bug_when = ? AND comment_id < ?))',
    undef, @$comment{qw(bug_id bug_when bug_when comment_id)});
  return number($count);
}

sub attachment {
  my ($audience, $attachment, $timestamp) = @_;
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
    creator          => $audience->person(user($attachment->{submitter_id})),
    creation_time    => time_text($attachment->{creation_ts}),
    last_change_time => time_text($timestamp),
    flags            => [map { flag($audience, $_) } @{flag_rows(@{$attachment->flags})}],
  };
}

# Flags as plain rows: objects of flags that are gone can no longer be asked for anything.
sub flag_rows {
  return [
    sort { $a->{id} <=> $b->{id} }
    map { {
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

sub flag {
  my ($audience, $row) = @_;
  return {
    name      => $row->{name},
    type_id   => $row->{type_id},
    status    => $row->{status},
    setter    => $audience->person(user($row->{setter_id})),
    requestee => $audience->person(user($row->{requestee_id})),
  };
}

# As Bugzilla's history writes a flag, but for the person's name.
sub flag_word {
  my ($audience, $row) = @_;
  my $requestee = user($row->{requestee_id});
  return $row->{name} . $row->{status} . ($requestee ? '(' . $audience->person_word($requestee) . ')' : '');
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Facts - bugs, comments, attachments and flags as events have them

=head1 DESCRIPTION

Each function takes the L<audience|Bugzilla::Extension::SourcePulse::Audience> and an object of Bugzilla, and gives plain data
for JSON, with the names of Bugzilla's REST API. What Bugzilla has read already in this update is not read again.

=head1 FUNCTIONS

C<bug AUDIENCE, BUG, TIMESTAMP>, C<comment AUDIENCE, COMMENT>, C<attachment AUDIENCE, ATTACHMENT, TIMESTAMP>, C<flag AUDIENCE, ROW>,
C<flag_word AUDIENCE, ROW>; and what they are made of: C<place>, C<is_open>, C<aliases>, C<keywords>, C<user>, C<qa_contact>,
C<custom_fields>, C<custom_value>, C<flag_rows>.
