# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::RecordThing;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Extension::SourcePulse::Changes    qw(name_of);
use Bugzilla::Extension::SourcePulse::Database   qw(now select_name);
use Bugzilla::Extension::SourcePulse::Json       qw(number text truth);
use Bugzilla::Extension::SourcePulse::Outbox     qw(record);
use Bugzilla::Extension::SourcePulse::View       qw(row);
use Bugzilla::Extension::SourcePulse::Visibility qw(PUBLIC);

# Columns whose changes are published; versions and milestones store their name
# in the column "value".
my %FIELD = map { $_ => 1 } qw(name value isactive classification_id);

# FACT: create, update or delete. OLD and CHANGES as object_end_of_update has
# them. The row is never thin, because nothing records the old state.
sub record_thing {
  my ($fact, $object, $old, $changes) = @_;
  my $timestamp = now();
  record(sub { _thing_row($fact, $object, $timestamp, $old, $changes) });
  return;
}

sub _thing_row {
  my ($fact, $object, $timestamp, $old, $changes) = @_;

  # Bugzilla::Product is a product.
  my ($kind)     = map {lc} ref($object) =~ /(\w+)\z/;
  my $visibility = Bugzilla::Extension::SourcePulse::Visibility->new;
  my $product_id = $kind eq 'product' ? $object->id : $object->{product_id};
  my $is_public  = $kind eq 'keyword'
    || $visibility->state_of_products($product_id)->{$product_id} eq PUBLIC;
  my $published = $changes ? _changes($changes) : undef;
  return undef if $published && !@$published;
  return row({
    kind       => "$kind.$fact",
    bug_id     => 0,
    timestamp  => $timestamp,
    visibility => $visibility,
    is         => $is_public,
    full       => sub {
      my $product = $kind eq 'keyword'
        || $kind eq 'product' ? undef : text(select_name('products', $product_id));
      my $name = text(($old || $object)->name);
      return {
        words => [defined $product ? $product : (), $name],
        thing => _thing($kind, $object, $product),
        $published ? (changes => $published) : (),
      };
    },
  });
}

sub _thing {
  my ($kind, $object, $product) = @_;
  my %thing = (id => number($object->id), name => text($object->name));

  # Before Bugzilla 5.3, a keyword cannot be closed for entry.
  my ($active) = grep {defined} @$object{qw(isactive is_active)};
  $thing{is_active} = truth(defined $active ? $active : 1);
  if ($kind eq 'product') {
    $thing{classification} = _name_of_classification($object->{classification_id});
  }
  elsif ($kind ne 'keyword') {
    $thing{product}    = $product;
    $thing{product_id} = number($object->{product_id});
  }
  return \%thing;
}

sub _changes {
  my ($changes) = @_;
  my @changes;
  foreach my $column (grep { $FIELD{$_} } sort keys %$changes) {
    my ($field, $value)
      = $column eq 'classification_id'
      ? ('classification', \&_name_of_classification)
      : $column =~ /\A(?:name|value)\z/ ? ('name', \&text)
      :                                   (name_of($column), \&truth);
    my ($removed, $added) = map { $value->($_) } @{$changes->{$column}};
    push(@changes, {field_name => $field, removed => $removed, added => $added});
  }
  return \@changes;
}

sub _name_of_classification {
  return text(select_name('classifications', $_[0]));
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::RecordThing - writes the rows of products,
components, versions, milestones and keywords

=head1 DESCRIPTION

Consumers select bugs by these names: a rename changes the routing keys of all
bugs below it although no bug changes. Published are the properties that a
visitor can see when filing a bug: names, ids, and whether new bugs are
accepted.
