# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# One driver for all tests: a new fake Bugzilla, or with BUGZILLA_HOME the real one in that folder, which must have the
# extension linked and checksetup.pl run, and be made for tests.
package BzWorld;

use 5.10.1;
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::XS ();
use Socket qw(AF_UNIX MSG_DONTWAIT SOCK_DGRAM sockaddr_un);

use base qw(Exporter);
our @EXPORT_OK = qw(is_real extension_folder);

use constant TABLE => 'sourcepulse_outbox';

# The hooks that the extension stands on.
my %TRACED = map { $_ => 1 } qw(
  bug_end_of_create bug_start_of_update bug_end_of_update flag_end_of_update object_end_of_create object_end_of_update
  object_before_delete group_before_delete
);
my %TRACED_CLASS = map { $_ => 1 } qw(Bugzilla::Bug Bugzilla::Comment Bugzilla::Attachment);

sub is_real { return Bugzilla::Constants::BUGZILLA_VERSION() =~ /fake/ ? 0 : 1; }

sub extension_folder { return _trusted(abs_path(dirname(abs_path(__FILE__)) . '/../..')); }

# Tests run under taint mode as well.
sub _trusted {
  my ($text) = $_[0] =~ /\A(.*)\z/s;
  return $text;
}

# With AS_IT_IS in the folder that is named, without a change of its parameters and rows.
sub new {
  my ($class, $as_it_is) = @_;
  my $home = $as_it_is || $ENV{BUGZILLA_HOME};
  local @ENV{qw(PATH ENV BASH_ENV CDPATH IFS)} = '/usr/bin:/bin';
  if (!$home) {
    $home = tempdir(CLEANUP => 1) . '/bugzilla';
    system(_trusted($^X), extension_folder() . '/t/fake/make.pl', $home) == 0 or die "no fake Bugzilla\n";
  }
  $home = _trusted(abs_path($home));
  chdir($home) or die "$home: $!\n";
  unshift(@INC, $home, "$home/lib", "$home/local/lib/perl5");
  require Bugzilla;
  require Bugzilla::Bug;
  require Bugzilla::Group;
  require Bugzilla::Product;
  require Bugzilla::Constants;
  Bugzilla->usage_mode(Bugzilla::Constants::USAGE_MODE_CMDLINE());
  my $self = bless {home => $home, trace => []}, $class;
  $self->new_request;
  Bugzilla->extensions;
  require Bugzilla::Extension::SourcePulse::Database;
  require Bugzilla::Extension::SourcePulse::MissedChanges;
  require Bugzilla::Extension::SourcePulse::WaitingRows;
  return $self if $as_it_is;
  $self->params(requirelogin => 0, sourcepulse_enabled => 1, sourcepulse_restricted => 0, sourcepulse_tell_hidden => 1,
    sourcepulse_hidden_fields => '', sourcepulse_groups_as => 'names', usevisibilitygroups => 0, or_groups => 0);
  $self->rows;
  Bugzilla->dbh->do("DELETE FROM $_") foreach qw(sourcepulse_private sourcepulse_state);
  unlink(Bugzilla::Extension::SourcePulse::MissedChanges::missed_path());
  return $self;
}

# The folder of the fake cannot be removed while it is the current one.
END { chdir('/') }

sub home { return $_[0]->{home}; }
sub dbh  { return Bugzilla->dbh; }
sub data { return Bugzilla::Constants::bz_locations()->{datadir}; }

# What the end of a request does, and the beginning of the next by the administrator.
sub new_request {
  my ($self) = @_;
  Bugzilla::_cleanup();
  Bugzilla->error_mode(Bugzilla::Constants::ERROR_MODE_DIE());
  my ($id) = Bugzilla->dbh->selectrow_array(q{SELECT MIN(userid) FROM profiles WHERE login_name LIKE 'admin@%'});
  Bugzilla->set_user(Bugzilla::User->new($id));
  return;
}

sub params {
  my ($self, %new) = @_;
  if (is_real()) {
    require Bugzilla::Config;
    Bugzilla::Config::SetParam($_, $new{$_}) foreach grep { exists Bugzilla->params->{$_} } keys %new;
    Bugzilla::Config::write_params();
    $self->new_request;
  }
  else {
    Bugzilla->set_params(%new);
  }
  return;
}

# Moves the database to another time, which counts whole seconds: the fake one by its clock, a real one by waiting. Files
# have a time as well, and PostgreSQL rounds up what is past half a second.
sub next_second {
  my ($self) = @_;
  if (!is_real()) {
    no warnings 'once';
    $Bugzilla::DB::now_s = (defined $Bugzilla::DB::now_s ? $Bugzilla::DB::now_s : time) + 1;
    return;
  }
  my ($then) = Bugzilla->dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  my $now = $then;
  require Bugzilla::Extension::SourcePulse::Times;
  while ($now eq $then || time <= Bugzilla::Extension::SourcePulse::Times::epoch($then)) {
    select(undef, undef, undef, 0.05);
    ($now) = Bugzilla->dbh->selectrow_array('SELECT LOCALTIMESTAMP(0)');
  }
  return;
}

# The rows that were written since the last time, with the payload decoded; they are gone then.
sub rows {
  my ($self) = @_;
  my $rows = Bugzilla->dbh->selectall_arrayref('SELECT * FROM ' . TABLE . ' ORDER BY id', {Slice => {}});
  Bugzilla->dbh->do('DELETE FROM ' . TABLE);
  require Bugzilla::Extension::SourcePulse::FillUpdate;
  Bugzilla::Extension::SourcePulse::FillUpdate::fill_update($_) foreach @$rows;
  $_->{payload} = JSON::XS->new->decode($_->{payload}) foreach @$rows;
  # An update may turn out to have nothing that is published.
  return grep { !$_->{payload}->{views} || %{$_->{payload}->{views}} } @$rows;
}

# How many rows another connection sees. It has to be there before a transaction of SQLite's begins.
sub rows_elsewhere {
  my ($self) = @_;
  $self->{elsewhere} ||= Bugzilla::Extension::SourcePulse::Database::handle()->clone;
  my ($count) = $self->{elsewhere}->selectrow_array('SELECT COUNT(*) FROM ' . TABLE);
  return $count;
}

# The public views of the rows since the last time, each with the kind of its row.
sub public {
  my ($self) = @_;
  return map { {kind => $_->{kind}, %{$_->{payload}->{views}->{public}}} } grep { $_->{payload}->{views}->{public} } $self->rows;
}

# -- what is found later

# The public views of what Bugzilla recorded behind the marks, each with the kind of its row.
sub recovered {
  my ($self, $marks) = @_;
  $self->new_request;
  require Bugzilla::Extension::SourcePulse::HistoryScan;
  my @views;
  for (my $more = 1; $more;) {
    my $page = Bugzilla::Extension::SourcePulse::HistoryScan::page($marks, 200);
    foreach my $row (@{$page->{rows}}) {
      my $view = JSON::XS->new->decode($row->{payload})->{views}->{public};
      push(@views, {kind => $row->{kind}, %$view}) if $view;
    }
    ($marks, $more) = ($page->{marks}, ${$page->{more}});
  }
  return @views;
}

# Where the tables end now.
sub tips {
  require Bugzilla::Extension::SourcePulse::HistoryScan;
  return Bugzilla::Extension::SourcePulse::HistoryScan::tips();
}

# What drain.pl would return of the rows that wait: thin ones are filled.
sub drained {
  my ($self) = @_;
  $self->new_request;
  my $rows = Bugzilla::Extension::SourcePulse::WaitingRows::next_rows(1_000, 64_000_000);
  fill($_) foreach @$rows;
  $self->rows;
  $_->{payload} = JSON::XS->new->decode($_->{payload}) foreach @$rows;
  return @$rows;
}

# Completes a row as drain.pl does.
sub fill {
  my ($row) = @_;
  require Bugzilla::Extension::SourcePulse::FillThinRow;
  require Bugzilla::Extension::SourcePulse::FillUpdate;
  Bugzilla::Extension::SourcePulse::FillUpdate::fill_update($row)
    || Bugzilla::Extension::SourcePulse::FillThinRow::fill_thin_row($row);
  return;
}

# The verdicts on events that wait, [TYPE, DATA] each, as drain.pl returns them.
sub check {
  my ($self, @events) = @_;
  $self->new_request;
  require Bugzilla::Extension::SourcePulse::EventCheck;
  my $json = JSON::XS->new;
  my @copies = map { {type => "bugzilla.$_->[0].v1", data => $json->decode($json->encode($_->[1]))} } @events;
  my $verdicts = Bugzilla::Extension::SourcePulse::EventCheck::check_events(@copies);
  return @{$json->decode($json->encode($verdicts))};
}

# The data of the events that the sidecar makes of a view, each with its type.
sub events_of {
  my ($self, $view) = @_;
  my %common = (change_set => undef, recovered => JSON::XS::false(), truncated => [], raw => []);
  my ($part) = $view->{kind} =~ /\A(bug|attachment)\./ or return ();
  my $subject = $view->{$part};
  my @events;
  push(@events, ["$part.created", {%common, who => $view->{who}, $part => $subject}]) if $view->{kind} =~ /\.create\z/;
  if ($view->{kind} =~ /\.update\z/) {
    my $transition = $view->{transition} || '';
    push(@events, ["$part.hidden", {id => $view->{id}, $part eq 'bug' ? () : (bug_id => $view->{bug_id})}]) if $transition eq 'hidden';
    push(@events, ["$part.published", {%common, $part => $subject}]) if $transition eq 'published';
    push(@events, ["$part.changed", {%common, who => $view->{who}, $part => $subject, changes => $view->{changes}}])
      if @{$view->{changes} || []};
  }
  my $bug_id = $subject ? $subject->{bug_id} || $subject->{id} : undef;
  push(@events, map { ['comment.created', {%common, comment => $_}] } @{$view->{comments} || []});
  push(@events, map { ['comment.published', {%common, comment => $_}] } @{$view->{comments_published} || []});
  push(@events, map { ['comment.hidden', {id => $_, bug_id => $bug_id}] } @{$view->{comments_hidden} || []});
  foreach my $done (@{$view->{flags} || []}) {
    push(@events, ['flag.requested', {%common, who => $view->{who}, bug_id => $bug_id, flag => $done->{flag},
          attachment_id => $part eq 'attachment' ? $subject->{id} : $done->{attachment_id}}]);
  }
  return @events;
}

# -- what people do

sub create_bug {
  my ($self, %fields) = @_;
  my %row = (
    product => 'TestProduct', component => 'TestComponent', version => 'unspecified', bug_severity => 'normal', priority => '---',
    op_sys => 'All', rep_platform => 'All', short_desc => 'a bug', comment => 'its description', %fields,
  );
  my $bug = Bugzilla::Bug->create(\%row);
  return $bug->id;
}

sub update_bug {
  my ($self, $id, %changes) = @_;
  my $bug     = Bugzilla::Bug->new($id);
  my $private = delete $changes{comment_is_private};
  my $flags   = delete $changes{flags};
  if ($changes{product} && is_real()) {
    $changes{product_change_confirmed} = 1;
    $changes{version} ||= 'unspecified';
    $changes{target_milestone} ||= '---';
  }
  $changes{summary} = delete $changes{short_desc} if exists $changes{short_desc} && is_real();
  $bug->set_all(\%changes) if %changes;
  $bug->set_comment_is_private($private) if $private;
  $self->_set_flags($bug, $flags) if $flags;
  $bug->update;
  return;
}

sub attach {
  my ($self, $id, %fields) = @_;
  my $attachment = Bugzilla::Attachment->create({
    bug => Bugzilla::Bug->new($id), data => 'hello', description => 'a file', filename => 'a.txt', mimetype => 'text/plain',
    ispatch => 0, isprivate => 0, %fields,
  });
  return $attachment->id;
}

sub update_attachment {
  my ($self, $id, %changes) = @_;
  my $attachment = Bugzilla::Attachment->new($id);
  $attachment->set_is_private($changes{is_private})   if exists $changes{is_private};
  $attachment->set_is_obsolete($changes{is_obsolete}) if exists $changes{is_obsolete};
  $attachment->set_description($changes{description}) if exists $changes{description};
  $self->_set_flags($attachment, $changes{flags})     if $changes{flags};
  $attachment->update;
  return;
}

sub delete_bug { Bugzilla::Bug->new($_[1])->remove_from_db; return; }

sub empty_attachment { Bugzilla::Attachment->new($_[1])->remove_from_db; return; }

# {name => status}, or {name => [status, requestee]}; "X" clears.
sub _set_flags {
  my ($self, $object, $wanted) = @_;
  my (@old, @new);
  foreach my $name (keys %$wanted) {
    my ($status, $requestee) = ref $wanted->{$name} ? @{$wanted->{$name}} : $wanted->{$name};
    my ($there) = grep { $_->name eq $name } @{$object->flags};
    my ($type) = Bugzilla->dbh->selectrow_array('SELECT id FROM flagtypes WHERE name = ?', undef, $name);
    my %flag = (status => $status, requestee => $requestee, setter => Bugzilla->user);
    delete $flag{requestee} unless defined $requestee;
    $there ? push(@old, {id => $there->id, %flag}) : push(@new, {type_id => $type, %flag});
  }
  $object->set_flags(\@old, \@new);
  return;
}

sub last_comment {
  my ($self, $bug_id) = @_;
  my ($id) = Bugzilla->dbh->selectrow_array('SELECT MAX(comment_id) FROM longdescs WHERE bug_id = ?', undef, $bug_id);
  return $id;
}

# -- what happens inside

# The name of the function that collects the facts of a change, for example of bug_updated, or makes the thin row of a bug.
sub collector {
  my ($what) = @_;
  my $name = $what =~ /\Aattachment/ ? 'RecordAttachment::_attachment_row' : 'RecordBug::' . ($what eq 'thin_row_now' ? $what : "_$what");
  return "Bugzilla::Extension::SourcePulse::$name";
}

# Runs WORK and returns the hooks that ran meanwhile, each as "name(class) depth of transaction".
sub trace {
  my ($self, $work) = @_;
  my @seen;
  my $process = \&Bugzilla::Hook::process;
  no warnings 'redefine';
  local *Bugzilla::Hook::process = sub {
    my ($name, $args) = @_;
    my $object = $args->{object} || $args->{bug};
    my $class  = ref $object;
    push(@seen, "$name($class) " . (Bugzilla->dbh->{private_bz_transaction_count} || 0))
      if $TRACED{$name} && ($class eq '' || $TRACED_CLASS{$class});
    goto &$process;
  };
  $work->();
  s/Bugzilla::// foreach @seen;
  return \@seen;
}

# Listens as the sidecar does; nudges() returns how many datagrams have come since.
sub listen_for_nudges {
  my ($self) = @_;
  my $path = $self->data . '/sourcepulse.sock';
  unlink($path);
  socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die "no socket: $!\n";
  bind($socket, sockaddr_un($path)) or die "$path: $!\n";
  $self->{socket} = $socket;
  return $path;
}

sub nudges {
  my ($self) = @_;
  my $count = 0;
  while (defined recv($self->{socket}, my $datagram, 16, MSG_DONTWAIT)) { $count++ }
  return $count;
}

# Runs WORK with a later hook that dies: what an extension after ours can do.
sub dying_in {
  my ($self, $hook, $work) = @_;
  my $process = \&Bugzilla::Hook::process;
  no warnings 'redefine';
  local *Bugzilla::Hook::process = sub {
    my ($name) = @_;
    &$process;
    die "another extension died\n" if $name eq $hook;
  };
  return eval { $work->(); 1 } ? '' : $@;
}

1;
