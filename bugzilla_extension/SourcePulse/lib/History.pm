# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::History;

use 5.10.1;
use strict;
use warnings;

use base qw(Exporter);
our @EXPORT_OK = qw(own_urlbase);

use Bugzilla::BugUrl::Bugzilla::Local;
use Bugzilla::Constants qw(FIELD_TYPE_BUG_ID FIELD_TYPE_MULTI_SELECT);
use Bugzilla::User qw(login_to_id);

use Bugzilla::Extension::SourcePulse::Changes;
use Bugzilla::Extension::SourcePulse::Database qw(handle);
use Bugzilla::Extension::SourcePulse::Values qw(epoch number text truth);

use constant GROUP_FIELD => 'bug_group';

my %IS_TRUTH  = map { $_ => 1 } qw(cclist_accessible everconfirmed isobsolete ispatch isprivate reporter_accessible);
my %IS_LIST   = map { $_ => 1 } qw(alias bug_group keywords see_also);
my %IS_PERSON = map { $_ => 1 } qw(assigned_to qa_contact reporter);

# The lines of one update, joined by field; Bugzilla breaks long values into several lines.
sub fields {
  my ($lines) = @_;
  my %fields;
  foreach my $line (sort { $a->{id} <=> $b->{id} } @$lines) {
    my $field = $line->{name};
    next if $field eq 'longdescs.isprivate' || $field eq 'work_time';
    $field =~ s/\Aattachments\.//;
    $fields{$field}->[0] .= text($line->{removed});
    $fields{$field}->[1] .= text($line->{added});
  }
  return \%fields;
}

sub changes {
  my ($audience, $fields) = @_;
  my %custom = map { $_->{name} => $_->{type} } Bugzilla->active_custom_fields;
  my @said;
  foreach my $field (sort keys %$fields) {
    next unless $audience->takes_field($field) || $field =~ /\A(?:filename|description|mimetype|isobsolete|ispatch|isprivate)\z/;
    next if $audience->is_public && $field =~ /\Acf_/ && !$custom{$field};
    my ($removed, $added) = map { _value($audience, $field, $custom{$field}, $_) } @{$fields->{$field}};
    push(@said, {field_name => Bugzilla::Extension::SourcePulse::Changes::name_of($field), removed => $removed, added => $added});
  }
  return Bugzilla::Extension::SourcePulse::Changes::sorted(@said);
}

sub _value {
  my ($audience, $field, $custom_type, $said) = @_;
  return truth($said) if $IS_TRUTH{$field};
  my @items = grep {length} split(/,\s*/, $said);
  return $audience->people(grep {$_} map { login_to_id($_) } @items) if $field eq 'cc';
  return $audience->bug_ids(@items) if $field eq 'dependson' || $field eq 'blocked';
  return [map { _flag_word($audience, $_) } @items] if $field eq 'flagtypes.name';
  return [sort grep { !_is_own_bug($audience, $_) } @items] if $field eq 'see_also';
  return \@items if $IS_LIST{$field} || (defined $custom_type && $custom_type == FIELD_TYPE_MULTI_SELECT);
  return $audience->person(login_to_id($said)) if $IS_PERSON{$field};
  return $audience->bug_id(number($said)) if defined $custom_type && $custom_type == FIELD_TYPE_BUG_ID;
  return $said;
}

# "review?(bob@example.org)": the history has the login.
sub _flag_word {
  my ($audience, $word) = @_;
  return $word unless $word =~ /\A(.*)\(([^()]*)\)\z/s;
  my ($flag, $login) = ($1, $2);
  my $id = login_to_id($login) or return $flag;
  return "$flag(" . $audience->person_word($id) . ')';
}

# The history has only the URL; one of a bug of this Bugzilla is told if that bug may be.
sub _is_own_bug {
  my ($audience, $url) = @_;
  return 0 unless $audience->is_public && index($url, own_urlbase()) == 0;
  my ($id) = $url =~ /[?&;]id=([0-9]+)/;
  return !$id || !defined $audience->bug_id($id) ? 1 : 0;
}

# How the URLs of this Bugzilla's own bugs begin.
sub own_urlbase {
  my ($base) = Bugzilla::BugUrl::Bugzilla::Local->local_uri('') =~ /\A(.*)show_bug\.cgi/s;
  return text($base);
}

# Whether everybody could see the bug before and after these lines: 1, 0, or undef where nobody can tell any more. Groups that
# were deleted since, or changes of groups since, leave a doubt.
sub public_around {
  my ($bug_id, $lines, $is_public_now) = @_;
  my ($first, $last) = _ends($lines);
  my $group_lines = handle()->selectall_arrayref(
    'SELECT bugs_activity.id, bugs_activity.removed, bugs_activity.added
       FROM bugs_activity INNER JOIN fielddefs ON fielddefs.id = bugs_activity.fieldid
      WHERE bugs_activity.bug_id = ? AND fielddefs.name = ? AND bugs_activity.id >= ? ORDER BY bugs_activity.id',
    {Slice => {}}, $bug_id, GROUP_FIELD, $first);
  return (undef, undef) if grep { $_->{id} > $last } @$group_lines;
  return ($is_public_now, $is_public_now) unless @$group_lines;
  my ($removed, $added) = map {
    my $side = $_;
    [grep {length} split(/,\s*/, join('', map { text($_->{$side}) } @$group_lines))]
  } qw(removed added);
  return (@$removed && !@$added ? 0 : undef, 1) if $is_public_now;
  my ($count) = handle()->selectrow_array('SELECT COUNT(*) FROM bug_group_map WHERE bug_id = ?', undef, $bug_id);
  # It was public if all groups that it is in now came with these lines.
  return (!@$removed && @$added == $count ? 1 : undef, 0);
}

# Where the bug was before these lines.
sub place_before {
  my ($bug_id, $first, $place_now) = @_;
  my $lines = handle()->selectall_arrayref(
    'SELECT fielddefs.name, bugs_activity.removed
       FROM bugs_activity INNER JOIN fielddefs ON fielddefs.id = bugs_activity.fieldid
      WHERE bugs_activity.bug_id = ? AND fielddefs.name IN (?, ?) AND bugs_activity.id >= ? ORDER BY bugs_activity.id DESC',
    undef, $bug_id, 'product', 'component', $first);
  my %before = map { $_->[0] => text($_->[1]) } @$lines;
  return [
    defined $before{product}   ? $before{product}   : $place_now->[0],
    defined $before{component} ? $before{component} : $place_now->[1]
  ];
}

# The time of the last deletion of a group: it can make bugs public and leaves no line in their history.
sub last_group_deletion {
  my ($time) = handle()->selectrow_array('SELECT MAX(at_time) FROM audit_log WHERE class = ? AND field = ?',
    undef, 'Bugzilla::Group', '__remove__');
  return epoch($time) || 0;
}

sub _ends {
  my ($lines) = @_;
  my @ids = sort { $a <=> $b } map { $_->{id} } @$lines;
  return ($ids[0] || 0, $ids[-1] || 0);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::History - what Bugzilla's own record of changes still says of an update

=head1 DESCRIPTION

Lines are rows of C<bugs_activity> with the C<name> of their field.

=head1 FUNCTIONS

C<fields LINES> joins them by field, C<changes AUDIENCE, FIELDS> gives changes as events have them, C<public_around BUG_ID, LINES, IS_PUBLIC_NOW> whether the bug was public
before and after, C<place_before BUG_ID, ID, PLACE> its product and component before a line, C<last_group_deletion> the time before which nobody can tell,
C<own_urlbase> how the URLs of this Bugzilla's bugs begin.
