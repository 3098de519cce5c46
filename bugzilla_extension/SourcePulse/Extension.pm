# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use base qw(Bugzilla::Extension);

use Bugzilla::Extension::SourcePulse::Database qw(now);
use Bugzilla::Extension::SourcePulse::Outbox   qw(outbox_schema record);
use Bugzilla::Extension::SourcePulse::Params   qw(active is_set_up);
use Bugzilla::Extension::SourcePulse::PrivatePeriods
  qw(note_group_end note_site periods_schema);
use Bugzilla::Extension::SourcePulse::RecordBug
  qw(record_bug_deletion record_bug_update record_new_bug remember_flags);
use Bugzilla::Extension::SourcePulse::Silence    qw(state_schema);
use Bugzilla::Extension::SourcePulse::Visibility qw(site_is_public);
use Bugzilla::Extension::SourcePulse::WrappedMethods
  qw(remember_old_attachment wrap_methods);

our $VERSION = '2';

# The page on which an administrator changes parameters.
use constant PARAMS_TEMPLATE => 'admin/params/editparams.html.tmpl';

# The classes of things that bugs are filed under. Object hooks also run for all
# other classes.
my $THING = qr/\ABugzilla::(?:Product|Component|Version|Milestone|Keyword)\z/;

wrap_methods();

# -- changes of bugs; those of attachments have no hooks

sub bug_end_of_create {
  my ($self, $args) = @_;
  record_new_bug(@$args{qw(bug timestamp)}) if active();
  return;
}

sub bug_start_of_update {
  my ($self, $args) = @_;
  my $changes = $args->{changes};
  remember_flags($args->{bug})
    if ($changes->{product_id} || $changes->{component_id}) && active();
  return;
}

sub bug_end_of_update {
  my ($self, $args) = @_;
  record_bug_update($args);
  return;
}

# -- changes of the things that bugs are filed under

sub product_end_of_create {
  my ($self, $args) = @_;
  _record_thing('create', $args->{product}) if active();
  return;
}

# A new product is published when its groups exist: product_end_of_create.
sub object_end_of_create {
  my ($self, $args) = @_;
  my $object = $args->{object};
  return unless ref($object) =~ $THING && !$object->isa('Bugzilla::Product');
  _record_thing('create', $object) if active();
  return;
}

sub object_end_of_update {
  my ($self, $args) = @_;
  my ($object, $old, $changes) = @$args{qw(object old_object changes)};
  if ($object->isa('Bugzilla::Attachment')) {
    remember_old_attachment($old);
  }
  elsif (ref($object) =~ $THING && %$changes && active()) {
    _record_thing('update', $object, $old, $changes);
  }
  return;
}

sub object_before_delete {
  my ($self, $args) = @_;
  my $object = $args->{object};
  return unless active();
  if    ($object->isa('Bugzilla::Bug'))      { record_bug_deletion($object) }
  elsif ($object->isa('Bugzilla::FlagType')) { _record_lost($object) }
  elsif (ref($object) =~ $THING) {
    _record_lost($object) if $object->isa('Bugzilla::Keyword');
    _record_thing('delete', $object);
  }
  return;
}

# Visitors can see the bugs of a group after its deletion; Bugzilla removes the
# group from them without a line in their history.
sub group_before_delete {
  my ($self, $args) = @_;
  return unless is_set_up();
  my $group     = $args->{group};
  my $timestamp = now();

  # Even while nothing is published, because recovery needs it later.
  record(sub { note_group_end($group->id, $timestamp) });
  _record_lost($group, $timestamp) if active() && site_is_public();
  return;
}

# Loaded when needed, which is rare, because without mod_perl every page loads
# what the hooks load.
sub _record_thing {
  return unless _load('RecordThing');
  return Bugzilla::Extension::SourcePulse::RecordThing::record_thing(@_);
}

sub _record_lost {
  my ($object, $timestamp) = @_;
  return unless _load('RecordLost');
  return Bugzilla::Extension::SourcePulse::RecordLost::record_lost($object,
    $timestamp || now());
}

# A server process that outlives an upgrade may find no such file any more. The
# change is missed then, and counted, but goes through.
sub _load {
  my ($module) = @_;
  my $is_loaded = 0;
  record(sub {
    require "Bugzilla/Extension/SourcePulse/$module.pm";
    $is_loaded = 1;
    return;
  });
  return $is_loaded;
}

# -- setup and administration

sub db_schema_abstract_schema {
  my ($self, $args) = @_;
  my $schema = $args->{schema};
  $schema->{sourcepulse_outbox}  = outbox_schema();
  $schema->{sourcepulse_private} = periods_schema();
  $schema->{sourcepulse_state}   = state_schema();
  return;
}

sub config_add_panels {
  my ($self, $args) = @_;
  $args->{panel_modules}->{SourcePulse}
    = 'Bugzilla::Extension::SourcePulse::Params';
  return;
}

# There is no hook for changed parameters, but the page on which they were
# changed is shown afterwards.
sub template_before_process {
  my ($self, $args) = @_;
  return unless $args->{file} eq PARAMS_TEMPLATE && is_set_up();
  record(sub { note_site(site_is_public()) });
  return;
}

sub sanitycheck_check {
  my ($self, $args) = @_;
  my $status = $args->{status};
  return unless active();
  require Bugzilla::Extension::SourcePulse::Health;
  $status->('sourcepulse_check');
  $status->("sourcepulse_$_->{problem}", $_, 'alert')
    foreach Bugzilla::Extension::SourcePulse::Health::problems();
  return;
}

sub page_before_template {
  my ($self, $args) = @_;
  return unless $args->{page_id} eq 'sourcepulse.html';
  require Bugzilla::Extension::SourcePulse::Health;
  Bugzilla::Extension::SourcePulse::Health::show_page($args->{vars});
  return;
}

__PACKAGE__->NAME;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse - the hooks

=head1 DESCRIPTION

The C<Record> modules collect what happened and pass it to
L<Bugzilla::Extension::SourcePulse::Outbox>, which writes a row in the current
transaction. Nothing that a hook calls uses the network, prints, waits, or calls
code that may show an error page.

The README beside this folder describes how to enable the extension, what it
publishes and which changes it does not see.
