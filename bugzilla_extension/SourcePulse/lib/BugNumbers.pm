# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::BugNumbers;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::BugUrl::Bugzilla::Local qw();

# How a member or a field has numbers of bugs: a number, a list, or URLs.
use constant {NUMBER => 1, NUMBERS => 2, URLS => 3};
my %BUILT_IN = (
  dupe_of     => NUMBER,
  dupe_bug_id => NUMBER,
  depends_on  => NUMBERS,
  blocks      => NUMBERS,
  see_also    => URLS,
);

# VISIBILITY knows which bugs are public; the custom fields have one bug each.
sub new {
  my ($class, $visibility, @custom_fields) = @_;
  my %how = (%BUILT_IN, map { $_ => NUMBER } @custom_fields);
  return bless {visibility => $visibility, how => \%how}, $class;
}

# Whether a member or a field has numbers of bugs.
sub are_in { return exists $_[0]->{how}->{$_[1]}; }

# JSON encodes a number that was used as a key as a string.
sub public {
  my ($self, $name, $value) = @_;
  my $how = $self->{how}->{$name};
  return [grep { $self->_is_public_url($_) } @$value] if $how == URLS;
  my @ids    = grep {$_} ref $value eq 'ARRAY' ? @$value     : $value;
  my $public = @ids ? $self->{visibility}->public_bugs(@ids) : {};
  my @kept   = map { $_ + 0 } grep { $public->{$_} } @ids;
  return $how == NUMBERS ? \@kept : $kept[0];
}

# Reads with one statement which of the mentioned bugs are public. Each part is
# a bug, a comment, or a list of comments or changes.
sub prepare {
  my ($self, @parts) = @_;
  my %ids;
  foreach my $part (map { ref $_ eq 'ARRAY' ? @$_ : $_ } @parts) {
    my $change = $part->{field_name};
    foreach my $name (grep { $self->are_in($_) } $change // keys %$part) {
      my @values
        = grep {$_}
        map    { ref $_ eq 'ARRAY' ? @$_ : $_ }
        defined $change ? @$part{qw(removed added)} : $part->{$name};
      @values = map { $self->_bug_of_url($_) || () } @values
        if $self->{how}->{$name} == URLS;
      $ids{"$_"} = 1 foreach @values;
    }
  }
  $self->{visibility}->public_bugs(keys %ids) if %ids;
  return;
}

# A URL of this Bugzilla's own page without a number is not public.
sub _is_public_url {
  my ($self, $url) = @_;
  my $id = $self->_bug_of_url($url);
  return !defined $id || ($id && $self->{visibility}->is_public_bug($id));
}

# URLs of this Bugzilla's own bugs contain their numbers. Returns undef for other
# URLs, and 0 if there is no number.
sub _bug_of_url {
  my ($self, $url) = @_;
  return undef unless $self->_is_own_page($url);
  my ($id) = $url =~ /[?&;]id=([0-9]+)/;
  return $id || 0;
}

# URLs that differ only in scheme or port still refer to the same Bugzilla.
sub _is_own_page {
  my ($self, $url) = @_;
  $self->{pages} ||= [
    grep {length}
    map  { _page($_) } Bugzilla::BugUrl::Bugzilla::Local->local_uri(''),
    map  { $_ ? $_ . 'show_bug.cgi' : '' } @{Bugzilla->params}{qw(urlbase sslbase)}
  ];
  my $page = _page($url);
  return scalar grep { $_ eq $page } @{$self->{pages}};
}

sub _page {
  my ($url) = @_;
  my ($host, $path) = $url =~ m{\A[a-z]+://([^/?#:]+)(?::[0-9]+)?([^?#]*)}i
    or return '';
  return lc($host) . $path;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::BugNumbers - where an event has numbers of
other bugs, without those that are not public
