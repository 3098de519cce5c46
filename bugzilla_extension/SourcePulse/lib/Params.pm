# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::Params;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

our $sortkey = 5000;

use base qw(Exporter);
our @EXPORT_OK = qw(
  active group_ids hidden_fields is_set_up params_of_views publishes_hidden
  restricted secret site_id
);

use constant GROUPS_AS => ('names', 'ids');

use constant SECRET_MIN_CHARS => 32;

use constant VIEW_PARAMS => qw(
  requirelogin sourcepulse_groups_as sourcepulse_hidden_fields
  sourcepulse_restricted sourcepulse_tell_hidden sslbase urlbase useqacontact
  usevisibilitygroups
);

my $UUID = qr/\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z/;

sub get_param_list {
  return (
    {name => 'sourcepulse_enabled', type => 'b', default => 1},
    {
      name    => 'sourcepulse_site_id',
      type    => 't',
      default => _new_uuid(),
      checker => \&_check_uuid
    },

    # Shown like a password; it belongs to the site id and is never published.
    {
      name    => 'sourcepulse_secret',
      type    => 'p',
      default => _random_hex() . _random_hex(),
      checker => \&_check_secret,
    },
    {name => 'sourcepulse_tell_hidden', type => 'b', default => 1},
    {
      name    => 'sourcepulse_hidden_fields',
      type    => 't',
      default => '',
      checker => \&_check_fields
    },
    {name => 'sourcepulse_restricted', type => 'b', default => 0},
    {
      name    => 'sourcepulse_groups_as',
      type    => 's',
      choices => [GROUPS_AS],
      default => (GROUPS_AS)[0],
      checker => \&_check_groups_as,
    },
  );
}

# Our code must not run before checksetup.pl has created both the tables and the
# parameters; it creates the parameters last.
sub active {
  my $params = Bugzilla->params;
  return $params->{sourcepulse_enabled} && is_set_up() ? 1 : 0;
}

sub is_set_up {
  my $params = Bugzilla->params;
  return $params->{sourcepulse_site_id} && $params->{sourcepulse_secret} ? 1 : 0;
}

sub restricted { return Bugzilla->params->{sourcepulse_restricted} ? 1 : 0; }
sub site_id    { return Bugzilla->params->{sourcepulse_site_id}; }
sub secret     { return Bugzilla->params->{sourcepulse_secret}; }

sub publishes_hidden {
  return Bugzilla->params->{sourcepulse_tell_hidden} ? 1 : 0;
}

sub group_ids {
  return (Bugzilla->params->{sourcepulse_groups_as} || '') eq 'ids' ? 1 : 0;
}

sub hidden_fields {
  return {map { $_ => 1 }
      split(/[\s,]+/, Bugzilla->params->{sourcepulse_hidden_fields} || '')};
}

# The values of all parameters that decide what is in views.
sub params_of_views {
  my $params = Bugzilla->params;
  return {map { $_ => $params->{$_} } VIEW_PARAMS};
}

sub _check_uuid {
  my ($value) = @_;
  return '' if $value =~ $UUID;
  return
    'This must be a UUID in lower case, as checksetup.pl made it; changing it makes a new source for all consumers.';
}

sub _check_secret {
  my ($value) = @_;
  return '' if $value =~ /\A[0-9a-f]+\z/ && length($value) >= SECRET_MIN_CHARS;
  return
      'This must be at least '
    . SECRET_MIN_CHARS
    . ' hex digits in lower case, as checksetup.pl made it; with another value consumers see every event once more.';
}

sub _check_fields {
  my ($value) = @_;
  foreach my $name (split(/[\s,]+/, $value)) {
    next if $name eq '' || $name =~ /\Acf_\w+\z/;
    return "'$name' is not a custom field; their names begin with cf_.";
  }
  return '';
}

sub _check_groups_as {
  my ($value) = @_;
  return (grep { $_ eq $value } GROUPS_AS)
    ? ''
    : "'$value' is neither 'names' nor 'ids'.";
}

# Version 4 of RFC 9562; it only has to differ from those of other sites.
sub _new_uuid {
  my @bytes = unpack('C16', pack('H*', _random_hex()));
  $bytes[6] = $bytes[6] & 0x0f | 0x40;
  $bytes[8] = $bytes[8] & 0x3f | 0x80;
  my $hex = join('', map { sprintf('%02x', $_) } @bytes);
  return join('-', unpack('A8 A4 A4 A4 A12', $hex));
}

# 16 random bytes as hex digits. Without /dev/urandom they only have to differ
# from those of other processes.
sub _random_hex {
  my $bytes = '';
  if (open(my $random, '<:raw', '/dev/urandom')) {
    sysread($random, $bytes, 16);
    close($random);
  }
  $bytes = join('', map { chr(int(rand(256))) } 1 .. 16) if length($bytes) != 16;
  return unpack('H*', $bytes);
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::Params - the parameters and their values

=head1 DESCRIPTION

F<admin/params/sourcepulse.html.tmpl> describes the parameters.
F<checksetup.pl> generates the site id and the secret, which belong together.
