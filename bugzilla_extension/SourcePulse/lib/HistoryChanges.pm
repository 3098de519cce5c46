# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::HistoryChanges;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Constants
  qw(FIELD_TYPE_BUG_ID FIELD_TYPE_DATETIME FIELD_TYPE_MULTI_SELECT);

use Bugzilla::Extension::SourcePulse::Changes  qw(flag_item is_truth name_of);
use Bugzilla::Extension::SourcePulse::Database qw(select_rows);
use Bugzilla::Extension::SourcePulse::Facts    qw(TYPE_DATE TYPE_INTEGER);
use Bugzilla::Extension::SourcePulse::History
  qw(COMMENT_PRIVACY_FIELD items_of);
use Bugzilla::Extension::SourcePulse::Json  qw(number text truth);
use Bugzilla::Extension::SourcePulse::Times qw(time_text);

use base qw(Exporter);
our @EXPORT_OK = qw(history_changes history_fields);

my %IS_LIST   = map { $_ => 1 } qw(alias bug_group keywords see_also);
my %IS_PERSON = map { $_ => 1 } qw(assigned_to qa_contact reporter);

# The lines of one update, joined by field, because Bugzilla splits long values
# into several lines.
sub history_fields {
  my ($lines) = @_;
  my %fields;
  foreach my $line (sort { $a->{id} <=> $b->{id} } @$lines) {
    my $field = $line->{name};
    next if $field eq COMMENT_PRIVACY_FIELD || $field eq 'work_time';
    $field =~ s/\Aattachments\.//;
    $fields{$field}->[0] .= text($line->{removed});
    $fields{$field}->[1] .= text($line->{added});
  }
  return \%fields;
}

# The same as Changes::bug_changes() and Changes::attachment_changes() return,
# from the text in the history.
sub history_changes {
  my ($logins, $fields) = @_;
  my $moved  = $fields->{product} || $fields->{component};
  my %custom = map { $_->{name} => $_->{type} } Bugzilla->active_custom_fields;
  my @changes;
  foreach my $field (sort keys %$fields) {
    my %change = (field_name => name_of($field));
    foreach my $side (0, 1) {
      my $written = $fields->{$field}->[$side];
      my $value
        = $field eq 'flagtypes.name'
        ? _flags($logins, $written, $moved)
        : _value($logins, $field, $custom{$field}, $written);

      # The person is no longer known, but the change still happened.
      $change{is_vague} = 1
        if _is_person($field) && $written ne '' && !_has_all($value, $written);
      $change{$side ? 'added' : 'removed'} = $value;
    }
    push(@changes, \%change);
  }
  return \@changes;
}

sub _value {
  my ($logins, $field, $custom_type, $written) = @_;
  return truth($written) if is_truth($field);
  my @items = items_of($written);
  return _people($logins, @items) if $field eq 'cc';
  return [map { number($_) } @items]
    if $field eq 'dependson' || $field eq 'blocked';
  return \@items                            if $IS_LIST{$field};
  return $logins->person_of_login($written) if $IS_PERSON{$field};
  return
    defined $custom_type ? _custom($custom_type, $written, \@items) : $written;
}

# In the form of Facts::custom_value().
sub _custom {
  my ($type, $written, $items) = @_;
  return $items                    if $type == FIELD_TYPE_MULTI_SELECT;
  return number($written) || undef if $type == FIELD_TYPE_BUG_ID;
  return number($written eq '' ? 0 : $written) if $type == TYPE_INTEGER;
  if ($type == FIELD_TYPE_DATETIME) {
    return $written eq '' ? undef : time_text($written);
  }
  return $written eq '' ? undef : substr($written, 0, 10) if $type == TYPE_DATE;
  return $written;
}

sub _people {
  my ($logins, @items) = @_;
  return [sort { $a->{id} <=> $b->{id} }
      grep {$_} map { $logins->person_of_login($_) } @items];
}

sub _is_person { return $_[0] eq 'cc' || $IS_PERSON{$_[0]}; }

sub _has_all {
  my ($value, $written) = @_;
  return $value                        ? 1 : 0 unless ref $value eq 'ARRAY';
  return @$value == items_of($written) ? 1 : 0;
}

# "review?(bob@example.org)": the history has the login. When a bug is moved,
# Bugzilla records the flags that attachments lost among those of the bug, so
# items that may be flags of an attachment are omitted.
sub _flags {
  my ($logins, $written, $moved) = @_;
  my $types = $moved ? _flag_types() : undef;
  my @items;
  foreach my $word (items_of($written)) {
    my ($flag, $login)
      = $word =~ /\A(.*)\(([^()]*)\)\z/s ? ($1, $2) : ($word, undef);
    if ($types) {
      my ($name) = $flag =~ /\A(.*)[?+-]\z/s;
      next unless defined $name && $types->{b}->{$name} && !$types->{a}->{$name};
    }
    push(@items, flag_item($flag, $logins->person_of_login($login)));
  }
  return \@items;
}

sub _flag_types {
  my %types = (a => {}, b => {});
  $types{$_->{target_type}}->{$_->{name}} = 1
    foreach @{select_rows('SELECT name, target_type FROM flagtypes')};
  return \%types;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::HistoryChanges - the changes of an update,
read from the text in Bugzilla's history
