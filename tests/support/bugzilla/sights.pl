# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What an anonymous visitor sees of a Bugzilla, read from its tables alone, and what a step changed of it. The extension
# is not asked.
package Sights;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants qw(CMT_ATTACHMENT_CREATED CMT_ATTACHMENT_UPDATED);

use constant WORD => qr/(TOKEN\w+)/;

my $VISIBLE = 'bugs.creation_ts IS NOT NULL AND NOT EXISTS (SELECT 1 FROM bug_group_map WHERE bug_group_map.bug_id = bugs.bug_id)';

# Fields of a bug by the names of events; what names other bugs is looked at by itself.
my %COLUMN = (
  summary => 'short_desc', cf_text => 'cf_text', whiteboard => 'status_whiteboard', status => 'bug_status',
  resolution => 'resolution', priority => 'priority', product => 'products.name', component => 'components.name',
  version => 'bugs.version', target_milestone => 'bugs.target_milestone',
  assigned_to => '(SELECT login_name FROM profiles WHERE userid = assigned_to)',
  qa_contact => '(SELECT login_name FROM profiles WHERE userid = qa_contact)',
);
my @FIELDS = sort keys %COLUMN;

# Lists of a bug: the second column is an item.
my %LIST = (
  keywords => 'SELECT bug_id, name FROM keywords INNER JOIN keyworddefs ON keyworddefs.id = keywordid WHERE bug_id >= ?',
  cc       => 'SELECT bug_id, login_name FROM cc INNER JOIN profiles ON userid = who WHERE bug_id >= ?',
  alias    => 'SELECT bug_id, alias FROM bugs_aliases WHERE bug_id >= ?',
);
my %THINGS = (component => 'name', version => 'value', milestone => 'value');

sub new {
  my ($class, $world, $first) = @_;
  return bless {world => $world, first => $first, seen => {}}, $class;
}

sub rows { my ($self, $select, @values) = @_; 
  my $dbh = $self->{world}->dbh;
  return @{$dbh->selectall_arrayref($dbh->prepare_cached($select), undef, @values)};
}

sub look {
  my ($self) = @_;
  my $first = $self->{first};
  my %now = (is_open => Bugzilla->params->{requirelogin} ? 0 : 1, map { $_ => {} } qw(bugs comments about attachments things links words_of));
  @now{qw(last_bug last_comment last_attachment)} = map { $_ || 0 }
    @{($self->rows('SELECT (SELECT MAX(bug_id) FROM bugs), (SELECT MAX(comment_id) FROM longdescs), (SELECT MAX(attach_id) FROM attachments)'))[0]};
  return \%now unless $now{is_open};
  my %texts;
  foreach my $row ($self->rows('SELECT bugs.bug_id, ' . join(', ', @COLUMN{@FIELDS}) . " FROM bugs
      INNER JOIN products ON products.id = bugs.product_id INNER JOIN components ON components.id = component_id
      WHERE bugs.bug_id >= ? AND $VISIBLE", $first)) {
    my ($id, @values) = @$row;
    my %bug;
    @bug{@FIELDS} = map { defined $_ ? "$_" : '' } @values;
    $now{bugs}->{$id} = \%bug;
  }
  my $bugs = $now{bugs};
  foreach my $name (keys %LIST) {
    my %items;
    push(@{$items{$_->[0]}}, $_->[1]) foreach $self->rows($LIST{$name}, $first);
    $bugs->{$_}->{$name} = join(' ', sort @{$items{$_} || []}) foreach keys %$bugs;
  }
  foreach my $row ($self->rows('SELECT attach_id, bug_id, description, filename, isobsolete, mimetype FROM attachments
      WHERE bug_id >= ? AND isprivate = 0', $first)) {
    my ($id, $bug_id, @values) = @$row;
    next unless $bugs->{$bug_id};
    my %file = (bug => $bug_id + 0);
    @file{qw(summary file_name is_obsolete content_type)} = map {"$_"} @values;
    $now{attachments}->{$id} = \%file;
  }
  my %flags;
  foreach my $row ($self->rows('SELECT bug_id, attach_id, flagtypes.name, flags.status, login_name FROM flags
      INNER JOIN flagtypes ON flagtypes.id = type_id LEFT JOIN profiles ON userid = requestee_id WHERE bug_id >= ?', $first)) {
    my ($bug_id, $attach_id, @words) = @$row;
    push(@{$flags{defined $attach_id ? "file $attach_id" : "bug $bug_id"}}, join(' ', map { defined $_ ? $_ : '' } @words));
  }
  $bugs->{$_}->{flags} = join(', ', sort @{$flags{"bug $_"} || []}) foreach keys %$bugs;
  $now{attachments}->{$_}->{flags} = join(', ', sort @{$flags{"file $_"} || []}) foreach keys %{$now{attachments}};
  foreach my $row ($self->rows('SELECT comment_id, bug_id, type, extra_data, thetext FROM longdescs
      WHERE bug_id >= ? AND isprivate = 0', $first)) {
    my ($id, $bug_id, $type, $about, $text) = @$row;
    next unless $bugs->{$bug_id};
    # One about an attachment is as private as that.
    next if ($type == CMT_ATTACHMENT_CREATED || $type == CMT_ATTACHMENT_UPDATED) && !$now{attachments}->{$about};
    $now{comments}->{$id} = $bug_id + 0;
    $now{about}->{$id}    = $about if $type == CMT_ATTACHMENT_CREATED || $type == CMT_ATTACHMENT_UPDATED;
    push(@{$texts{$bug_id}}, $text);
  }
  foreach my $row ($self->rows('SELECT blocked, dependson FROM dependencies WHERE blocked >= ?', $first)) {
    next if grep { !$bugs->{$_} } @$row;
    $now{links}->{"$row->[0] depends_on $row->[1]"} = 1;
    $now{links}->{"$row->[1] blocks $row->[0]"} = 1;
  }
  $self->_look_at_things(\%now);
  push(@{$texts{$_->{bug}}}, values %$_) foreach values %{$now{attachments}};
  push(@{$texts{$_}}, values %{$bugs->{$_}}) foreach keys %$bugs;
  push(@{$texts{0}}, values %$_) foreach values %{$now{things}};
  # By the bug that they are in; those of products and the like are in none.
  $now{words_of} = {map { $_ => [join("\n", @{$texts{$_}}) =~ /@{[WORD]}/g] } keys %texts};
  return \%now;
}

# What can be chosen: that of products without a mandatory group. Keywords are described to every visitor.
sub _look_at_things {
  my ($self, $now) = @_;
  my $is_public = 'NOT EXISTS (SELECT 1 FROM group_control_map WHERE group_control_map.product_id = products.id AND membercontrol = 3)';
  $now->{things}->{"product $_->[0]"} = {name => $_->[1], is_active => $_->[2]}
    foreach $self->rows("SELECT id, name, isactive FROM products WHERE $is_public");
  foreach my $kind (keys %THINGS) {
    $now->{things}->{"$kind $_->[0]"} = {name => $_->[1], is_active => $_->[2]} foreach $self->rows(
      "SELECT ${kind}s.id, ${kind}s.$THINGS{$kind}, ${kind}s.isactive FROM ${kind}s INNER JOIN products ON products.id = product_id WHERE $is_public");
  }
  $now->{things}->{"keyword $_->[0]"} = {name => $_->[1]} foreach $self->rows('SELECT id, name FROM keyworddefs');
  return;
}

# The words and bugs that are seen for the first time.
sub new_words {
  my ($self, $now) = @_;
  my @all = ((map {@$_} values %{$now->{words_of}}), (map {"bug:$_"} keys %{$now->{bugs}}), (map {"comment:$_"} keys %{$now->{comments}}),
    (map {"attachment:$_"} keys %{$now->{attachments}}));
  return grep { !$self->{seen}->{$_}++ } @all;
}

# What became different between two looks, each as [what, its number, its bug's number, more].
sub differences {
  my ($self, $before, $after) = @_;
  my @found;
  my ($old, $new) = ($before->{bugs}, $after->{bugs});
  foreach my $id (keys %$new) {
    if (!$old->{$id}) { push(@found, ['bug.shown', $id, $id]); next }
    foreach my $field (keys %{$new->{$id}}) {
      my ($from, $to) = ($old->{$id}->{$field}, $new->{$id}->{$field});
      push(@found, ['bug.changed', $id, $id, $field, $from, $to]) if $from ne $to;
    }
  }
  foreach my $id (grep { !$new->{$_} } keys %$old) {
    my ($is_there) = $self->rows('SELECT 1 FROM bugs WHERE bug_id = ?', $id);
    push(@found, [$is_there ? 'bug.hidden' : 'bug.deleted', $id, $id]);
  }
  my %of_comment = (before => $before->{comments}, after => $after->{comments});
  my @comments = $self->_parts('comment', $before->{last_comment}, $old, $new, %of_comment);
  my %of_file = map { my $look = $_->[1]->{attachments}; $_->[0] => {map { $_ => $look->{$_}->{bug} } keys %$look} } [before => $before], [after => $after];
  my @files = $self->_parts('attachment', $before->{last_attachment}, $old, $new, %of_file);
  # A comment about a file comes and goes with it.
  my %is_of = map { $_->[0] =~ /shown|hidden/ ? ($_->[1] => 1) : () } @files;
  my %about = (%{$before->{about}}, %{$after->{about}});
  push(@found, @files, grep { !$is_of{$about{$_->[1]} || 0} } @comments);
  foreach my $id (grep { $before->{attachments}->{$_} } keys %{$after->{attachments}}) {
    my ($was, $is) = map { $_->{attachments}->{$id} } $before, $after;
    next unless $was && $old->{$is->{bug}} && $new->{$is->{bug}};
    push(@found, map { ['attachment.changed', $id, $is->{bug}, $_, $was->{$_}, $is->{$_}] } grep { $was->{$_} ne $is->{$_} } keys %$is);
  }
  foreach my $link (keys %{{%{$before->{links}}, %{$after->{links}}}}) {
    next if $before->{links}->{$link} && $after->{links}->{$link};
    my ($bug, $field, $other) = split(/ /, $link);
    push(@found, ['bug.linked', $bug, $bug, $field, $other]) unless grep { !$old->{$_} || !$new->{$_} } $bug, $other;
  }
  foreach my $thing (keys %{{%{$before->{things}}, %{$after->{things}}}}) {
    my ($was, $is) = map { $_->{things}->{$thing} } $before, $after;
    next if $was && $is && !grep { $was->{$_} ne $is->{$_} } keys %$is;
    my ($kind, $id) = split(/ /, $thing);
    push(@found, ["$kind." . (!$was ? 'created' : $is ? 'changed' : 'deleted'), $id, undef]);
  }
  $_->[1] += 0 foreach @found;
  $_->[2] += 0 foreach grep { defined $_->[2] } @found;
  return \@found;
}

# Comments or attachments of bugs that are seen before and after: made, shown or hidden.
sub _parts {
  my ($self, $what, $last, $old, $new, %look) = @_;
  my @found;
  foreach my $id (grep { !defined $look{before}->{$_} } keys %{$look{after}}) {
    my $bug = $look{after}->{$id};
    push(@found, ["$what." . ($id > $last ? 'made' : 'shown'), $id, $bug]) if $old->{$bug} && $new->{$bug};
  }
  foreach my $id (grep { !defined $look{after}->{$_} } keys %{$look{before}}) {
    my $bug = $look{before}->{$id};
    push(@found, ["$what.hidden", $id, $bug]) if $old->{$bug} && $new->{$bug};
  }
  return @found;
}

1;
