# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

package Bugzilla::Extension::SourcePulse::WrappedMethods;

use 5.10.1;
use 5.14.0;
use strict;
use warnings;

use Bugzilla::Attachment qw();
use Bugzilla::DB         qw();
use Bugzilla::Object     qw();

use Bugzilla::Extension::SourcePulse::Nudge qw(send_nudge);
use Bugzilla::Extension::SourcePulse::Outbox
  qw(forget_transaction has_new_rows);
use Bugzilla::Extension::SourcePulse::Params qw(active);
use Bugzilla::Extension::SourcePulse::RecordAttachment
  qw(record_attachment_update record_emptied_attachment record_new_attachment);

use base qw(Exporter);
our @EXPORT_OK = qw(remember_old_attachment wrap_methods);

# The attachment before the update that is in progress; the hooks see it only
# during that update.
our $old_attachment;

sub remember_old_attachment { $old_attachment = $_[0]; return; }

my $is_wrapped = 0;

# Once per process.
sub wrap_methods {
  return if $is_wrapped;
  $is_wrapped = 1;
  no warnings 'redefine';

  my $commit = \&Bugzilla::DB::bz_commit_transaction;
  *Bugzilla::DB::bz_commit_transaction = sub {
    my $self   = $_[0];
    my @result = wantarray ? $commit->(@_) : scalar $commit->(@_);
    _after_commit($self) unless $self->bz_in_transaction;
    return wantarray ? @result : $result[0];
  };

  my $rollback = \&Bugzilla::DB::bz_rollback_transaction;
  *Bugzilla::DB::bz_rollback_transaction = sub {
    forget_transaction($_[0]);
    goto &$rollback;
  };

  _wrap('Bugzilla::Attachment::create',         \&_create_attachment);
  _wrap('Bugzilla::Attachment::update',         \&_update_attachment);
  _wrap('Bugzilla::Attachment::remove_from_db', \&_empty_attachment);

  # Wrapped here and not in Bugzilla::Bug, which few pages load.
  _wrap('Bugzilla::Object::remove_from_db', \&_remove_object, \&_needs_rows);
  return;
}

# Replaces a method by WORK, which is called with it and its arguments. WHEN: for
# which objects.
sub _wrap {
  my ($name, $work, $when) = @_;
  no strict 'refs';
  no warnings 'redefine';
  my $method = \&$name;
  *$name = sub {
    my @arguments = @_;
    return $method->(@arguments) if ($when && !$when->(@arguments)) || !active();
    return _together(sub { return scalar $work->($method, @arguments) });
  };
  return;
}

sub _create_attachment {
  my ($create, @arguments) = @_;
  my $attachment = $create->(@arguments);
  record_new_attachment($attachment);
  return $attachment;
}

sub _update_attachment {
  my ($update, $attachment, @arguments) = @_;
  local $old_attachment;
  my $changes = $update->($attachment, @arguments);
  record_attachment_update($attachment, $old_attachment, $changes);
  return $changes;
}

# Removes the content of an attachment, which itself remains; there is no hook.
sub _empty_attachment {
  my ($empty, $attachment, @arguments) = @_;
  my $id     = $attachment->id;
  my $result = $empty->($attachment, @arguments);
  record_emptied_attachment($id);
  return $result;
}

# The hook of the deletion runs inside.
sub _remove_object {
  my ($remove, @arguments) = @_;
  return $remove->(@arguments);
}

sub _needs_rows {
  my ($object) = @_;
  return
    grep { $object->isa($_) }
    qw(Bugzilla::Bug Bugzilla::Keyword Bugzilla::FlagType);
}

# Commits change and row in one transaction. After an exception the transaction
# depth is as before, because post_bug.cgi catches errors of Attachment->create
# and continues; without our transaction it would find none open.
sub _together {
  my ($work) = @_;
  my $dbh    = Bugzilla->dbh;
  my $guard  = Bugzilla::Extension::SourcePulse::WrappedMethods::Guard->new($dbh);
  $dbh->bz_start_transaction;
  my $result = $work->();
  $dbh->bz_commit_transaction;
  $guard->dismiss;
  return $result;
}

sub _after_commit {
  my ($dbh) = @_;
  return unless has_new_rows($dbh);
  forget_transaction($dbh);
  send_nudge();
  return;
}

package Bugzilla::Extension::SourcePulse::WrappedMethods::Guard;

use strict;
use warnings;

# Not an eval, because inside one Bugzilla's errors would not roll back.
sub new {
  my ($class, $dbh) = @_;
  return bless {dbh => $dbh, depth => _depth($dbh)}, $class;
}

# Bugzilla's interface only returns whether there is a transaction.
sub _depth { return $_[0]->{private_bz_transaction_count} || 0; }

sub dismiss { $_[0]->{dismissed} = 1; return; }

sub DESTROY {
  my ($self) = @_;
  return if $self->{dismissed};
  local ($!, $?);
  local $@;
  eval {
    my $dbh = $self->{dbh};
    if (_depth($dbh) > $self->{depth}) {
      if ($self->{depth}) {
        $dbh->{private_bz_transaction_count} = $self->{depth};
      }
      else {
        $dbh->bz_rollback_transaction;
      }
    }
  };
  return;
}

1;

__END__

=head1 NAME

Bugzilla::Extension::SourcePulse::WrappedMethods - wraps the few methods of
Bugzilla that have no hook

=head1 DESCRIPTION

=over

=item C<Bugzilla::DB::bz_commit_transaction>, C<bz_rollback_transaction>

After the outermost commit, the sidecar gets a nudge, because there is no hook
after a commit.

=item C<Bugzilla::Attachment::create>, C<update> and C<remove_from_db>, C<Bugzilla::Object::remove_from_db> (of bugs, keywords and flag types)

They run outside a transaction if the caller opened none; the wrapper opens one,
so that change and row are committed together.

=back
