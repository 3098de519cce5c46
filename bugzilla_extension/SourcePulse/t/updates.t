# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# An update is stored as it was decided, and drain.pl makes its events later: what happens meanwhile adds nothing to them.

use 5.10.1;
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BzWorld;
use JSON::XS ();
use POSIX ();
use Test::More;

my $world = BzWorld->new;
my $TABLE = BzWorld::TABLE();
my $json  = JSON::XS->new->canonical->ascii;

my @STRICT = (usevisibilitygroups => 1, sourcepulse_hidden_fields => 'cf_text', sourcepulse_tell_hidden => 0);
my @LOOSE  = (usevisibilitygroups => 0, sourcepulse_hidden_fields => '', sourcepulse_tell_hidden => 1);

# What WORK writes, as drain.pl returns it after MEANWHILE.
sub drained_after {
  my ($work, $meanwhile) = @_;
  $world->rows;
  $work->();
  $meanwhile->();
  return $world->drained;
}

# The public views of WORK's rows after MEANWHILE.
sub public_after { return map { $_->{payload}->{views}->{public} || () } drained_after(@_); }

subtest 'bugs and attachments that become public meanwhile' => sub {
  my $secret = $world->create_bug(groups => ['secretgroup']);
  my $open   = $world->create_bug;
  my $bug    = $world->create_bug;
  my $file   = $world->attach($bug, isprivate => 1);
  $world->update_bug($bug, comment => {body => 'about the file', is_private => 1});
  my $about = $world->last_comment($bug);
  $world->dbh->do('UPDATE longdescs SET type = 5, extra_data = ? WHERE comment_id = ?', undef, $file, $about);
  $world->new_request;
  my ($view) = public_after(
    sub {
      $world->update_bug($bug, dependson => {add => [$secret, $open]}, see_also => {add => [$secret]}, cf_bug => $secret,
        comment_is_private => {$about => 0}, priority => 'High');
    },
    sub {
      $world->update_bug($secret, groups => {remove => ['secretgroup']});
      $world->update_attachment($file, is_private => 0);
    }
  );
  is_deeply($view->{bug}->{depends_on}, [$open], 'only what was public then is in the bug');
  is_deeply([@{$view->{bug}}{qw(see_also cf_bug)}], [[], undef], 'in no field of it');
  is_deeply([map { @{$_->{added}} } grep { $_->{field_name} eq 'depends_on' } @{$view->{changes}}], [$open], 'nor in the changes');
  is_deeply($view->{comments_published}, [], 'nor the comment about what was private');
};

subtest 'a bug that becomes public meanwhile' => sub {
  my $bug = $world->create_bug(groups => ['secretgroup'], short_desc => 'SECRET');
  my @views = public_after(
    sub { $world->update_bug($bug, priority => 'High', comment => {body => 'SECRET'}) },
    sub { $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'clean') },
  );
  is_deeply([map { $_->{transition} } @views], ['published'], 'nothing of what was done before');
  unlike($json->encode(\@views), qr/SECRET/, 'and no word of it');
};

subtest 'a bug that becomes private meanwhile, and its names' => sub {
  my $bug = $world->create_bug;
  my ($view) = public_after(
    sub { $world->update_bug($bug, groups => {add => ['secretgroup']}, short_desc => 'SECRET', comment => {body => 'SECRET'}) },
    sub { $world->dbh->do(q{UPDATE components SET name = 'SECRET' WHERE name = 'TestComponent'}) },
  );
  $world->dbh->do(q{UPDATE components SET name = 'TestComponent' WHERE name = 'SECRET'});
  is_deeply([sort keys %$view], [qw(id old_place place transition)], 'it is hidden, and nothing else');
  is_deeply($view->{place}, ['TestProduct', 'TestComponent'], 'under the name that it had');
};

subtest 'parameters that become loose meanwhile' => sub {
  my $bug = $world->create_bug;
  $world->params(@STRICT);
  my ($view, $more) = public_after(
    sub {
      $world->update_bug($bug, cf_text => 'hush', priority => 'High');
      $world->update_bug($bug, groups => {add => ['secretgroup']});
    },
    sub { $world->params(@LOOSE) },
  );
  is_deeply([map { $_->{field_name} } @{$view->{changes}}], ['priority'], 'a field that was hidden is not published');
  ok(!exists $view->{bug}->{cf_text}, 'nor its value');
  is($view->{who}->{name}, undef, 'nor names');
  is($more, undef, 'nor that something was hidden');
  is(Bugzilla->params->{sourcepulse_tell_hidden}, 1, 'the parameters are as they were set');
};

subtest 'a bug that is gone' => sub {
  my $bug = $world->create_bug;
  my ($view) = public_after(
    sub { $world->update_bug($bug, priority => 'High', comment => {body => 'its last words'}) },
    sub { $world->delete_bug($bug) },
  );
  is_deeply([map { $_->{text} } @{$view->{comments}}], ['its last words'], 'its update is complete');
  is($view->{comments}->[0]->{count}, 1, 'with the number of the comment');
};

# The payloads of the rows that WORK writes, as the table has them, and then their public views.
sub stored_by {
  my ($work) = @_;
  $world->rows;
  $world->new_request;
  $work->();
  my @stored = @{$world->dbh->selectcol_arrayref("SELECT payload FROM $TABLE ORDER BY id")};
  return (\@stored, map { $_->{payload}->{views}->{public} } $world->drained);
}

subtest 'what is stored for the public stream only' => sub {
  my ($secret, $hidden) = map { $world->create_bug(groups => ['secretgroup']) } 1, 2;
  my $bug    = $world->create_bug;
  my $file   = $world->attach($bug, isprivate => 1);
  $world->update_attachment($file, flags => {review => '?'});
  $world->params(sourcepulse_hidden_fields => 'cf_text');
  my ($stored, $view) = stored_by(sub {
    $world->update_bug($bug, priority => 'High', cf_text => 'SECRET', deadline => '2031-02-03', comment => {body => 'SECRET', is_private => 1},
      component => 'Other', dependson => {add => [$secret]}, blocked => {add => [$hidden]}, see_also => {add => [$secret]}, cf_bug => $secret,
      cc => {add => ['bob@example.org']});
  });
  is(scalar @$stored, 1, 'one row');
  unlike($stored->[0], qr/SECRET/, 'neither a private comment nor a hidden field');
  unlike($stored->[0], qr/2031/, 'nor the deadline');
  unlike($stored->[0], qr/\@example/, 'nor whole logins');
  my $raw = $json->decode($stored->[0])->{raw};
  is_deeply([map { @{$raw->{bug}->{$_} || []} } qw(depends_on blocks see_also)], [], 'nor numbers of private bugs');
  is_deeply([$raw->{bug}->{cf_bug}, keys %{$raw->{decided}->{asked}}], [undef, $bug], 'anywhere');
  is_deeply([grep { $_->{attach_id} } map { @{$raw->{$_}} } qw(flags_before flags_after)], [], 'nor flags of a private attachment');
  is_deeply([map { $_->{name} } @{$view->{bug}->{cc}}], ['bob'], 'the view has what it had');
  is_deeply([map { $_->{field_name} } @{$view->{changes}}], [qw(cc component priority)], 'all that is public');

  $world->params(usevisibilitygroups => 1);
  ($stored, $view) = stored_by(sub { $world->update_bug($bug, priority => 'Low') });
  unlike($stored->[0], qr/"(?:bob|admin)/, 'no name where names are hidden');
  is_deeply($view->{bug}->{cc}, [{id => $view->{bug}->{cc}->[0]->{id}, name => undef}], 'only their ids');
  $world->params(usevisibilitygroups => 0);

  ($stored) = stored_by(sub {
    $world->update_bug($bug, comment => {body => 'SECRET', is_private => 1});
    $world->update_bug($bug, cf_text => 'SECRET 2', deadline => '2032-02-03');
    $world->update_bug($secret, priority => 'High', comment => {body => 'SECRET'});
  });
  is_deeply($stored, [], 'no row if nothing is public');
  $world->params(sourcepulse_hidden_fields => '');

  my ($dup, $other) = ($world->create_bug, $world->create_bug(groups => ['secretgroup']));
  ($stored, my @views) = stored_by(sub { $world->update_bug($dup, dup_id => $other) });
  my @raws = map { $_->{raw} } map { $json->decode($_) } @$stored;
  is_deeply([map { [$_->{bug}->{dupe_of}, $_->{changes}->{dup_id}, map { $_->{extra_data} } @{$_->{new_comments}}] } @raws],
    [[undef, [undef, undef], undef]], 'nor of which private bug it is a duplicate');
  is($views[0]->{bug}->{resolution}, 'DUPLICATE', 'only that it is one');
};

subtest 'what is stored of a bug that changes sides' => sub {
  my $bug = $world->create_bug;
  my ($stored, $view) = stored_by(sub {
    $world->update_bug($bug, groups => {add => ['secretgroup']}, short_desc => 'SECRET', component => 'Other', comment => {body => 'SECRET'}, cf_text => 'SECRET');
  });
  unlike($stored->[0], qr/SECRET|Other|"raw"/, 'of one that becomes private, where it was');
  is_deeply($view, {id => $bug, transition => 'hidden', map { $_ => ['TestProduct', 'TestComponent'] } qw(place old_place)}, 'as it is published');
  ($stored, $view) = stored_by(sub {
    $world->update_bug($bug, groups => {remove => ['secretgroup']}, short_desc => 'clean', cf_text => 'clean', component => 'TestComponent',
      comment => {body => 'public'});
  });
  unlike($stored->[0], qr/SECRET|Other|\@example/, 'of one that becomes public, nothing of before');
  is_deeply([map { $_->{text} } @{$view->{comments}}], ['public'], 'its new comment');
  $world->params(sourcepulse_tell_hidden => 0);
  ($stored) = stored_by(sub { $world->update_bug($bug, groups => {add => ['secretgroup']}) });
  is_deeply($stored, [], 'nothing where hiding is not published');
  $world->params(sourcepulse_tell_hidden => 1);
};

subtest 'what is stored of comments whose privacy changes' => sub {
  my $bug = $world->create_bug;
  my %hide;
  foreach my $number (1 .. 3) {
    $world->update_bug($bug, comment => {body => "SECRET $number"});
    $hide{$world->last_comment($bug)} = 1;
  }
  foreach my $restricted (0, 1) {
    $world->params(sourcepulse_restricted => $restricted);
    my ($stored, $view) = stored_by(sub { $world->update_bug($bug, comment_is_private => {%hide}) });
    unlike($stored->[0], qr/SECRET|"thin"/, 'hidden ones are stored without their text');
    is_deeply($view->{comments_hidden}, [sort { $a <=> $b } keys %hide], 'and published as hidden');
    $world->update_bug($bug, comment_is_private => {map { $_ => 0 } keys %hide});
  }
  $world->params(sourcepulse_restricted => 0);
  my ($second) = (sort { $a <=> $b } keys %hide)[1];
  $world->update_bug($bug, comment_is_private => {$second => 1});
  my ($view) = public_after(sub { $world->update_bug($bug, comment_is_private => {$second => 0}) }, sub { $world->delete_bug($bug) });
  is_deeply([map { [@$_{qw(id count)}] } @{$view->{comments_published}}], [[$second, 2]], 'its number is that of then, though the bug is gone');
};

subtest 'a bug with many flagged attachments that moves' => sub {
  plan skip_all => 'needs a type of flag of its own' if BzWorld::is_real();
  my $bug   = $world->create_bug;
  my @files = map { $world->attach($bug, isprivate => $_ == 3) } 1 .. 3;
  $world->update_attachment($_, flags => {review => '?', 'core-review' => '?'}) foreach @files;
  my $belongs = sub { $world->dbh->do('UPDATE flaginclusions SET product_id = ? WHERE type_id = 4', undef, @_) };
  my @asked;
  my $select = \&Bugzilla::Extension::SourcePulse::Visibility::select_in;
  no warnings 'redefine';
  local *Bugzilla::Extension::SourcePulse::Visibility::select_in = sub { push(@asked, $_[0]) if $_[0] =~ /attachments/; goto &$select };
  my ($stored, $view) = stored_by(sub { $world->update_bug($bug, component => 'Other') });
  is_deeply([scalar @asked, scalar @{$view->{flags}}], [0, 0], 'asks nothing if no flag goes');
  $belongs->(2);
  ($stored, $view) = stored_by(sub { $world->update_bug($bug, component => 'TestComponent') });
  $belongs->(1);
  is(scalar @asked, 1, 'asks once whether they are public');
  is_deeply([map { [$_->{flag}->{name}, $_->{status}, $_->{attachment_id}] } @{$view->{flags}}], [map { ['core-review', 'X', $_] } @files[0, 1]],
    'publishes the flags that went');
  my $raw = $json->decode($stored->[0])->{raw};
  is_deeply([map { [map { $_->{attach_id} } @{$raw->{$_}}] } qw(flags_before flags_after)], [[@files[0, 1]], []], 'and stores no others');
};

subtest 'what another extension adds to the changes' => sub {
  my $bug     = $world->create_bug;
  my $process = \&Bugzilla::Hook::process;
  no warnings 'redefine';
  local *Bugzilla::Hook::process = sub {
    my ($name, $args) = @_;
    $args->{changes}->{foreign} = [undef, bless({}, 'Foreign')] if $name eq 'bug_end_of_update';
    goto &$process;
  };
  foreach my $restricted (0, 1) {
    $world->params(sourcepulse_restricted => $restricted);
    my ($stored, $view) = stored_by(sub { $world->update_bug($bug, priority => $restricted ? 'High' : 'Low') });
    unlike($stored->[0], qr/"thin"/, 'does not make the row thin');
    is_deeply([map { $_->{field_name} } @{$view->{changes}}], ['priority'], 'and is not public');
  }
  $world->params(sourcepulse_restricted => 0);
};

subtest 'both streams' => sub {
  my $bug = $world->create_bug;
  $world->params(sourcepulse_restricted => 1);
  my ($row) = drained_after(
    sub { $world->update_bug($bug, priority => 'High', comment => {body => 'hush', is_private => 1}, cc => {add => ['bob@example.org']}) },
    sub { $world->params(sourcepulse_restricted => 0) },
  );
  my $views = $row->{payload}->{views};
  is($views->{restricted}->{comments}->[0]->{text}, 'hush', 'the restricted one has all, if it was on then');
  like($views->{restricted}->{who}->{name}, qr/@/, 'with whole logins');
  unlike($json->encode($views->{public}), qr/hush|example/, 'the public one has not');
  is_deeply([map { $_->{name} } @{$views->{public}->{bug}->{cc}}], ['bob'], 'the same people');
};

subtest 'what cannot be made into events' => sub {
  my $bug = $world->create_bug;
  $world->rows;
  my @warnings;
  local $SIG{__WARN__} = sub { push(@warnings, @_) };
  $world->update_bug($bug, priority => 'High');
  my ($stored) = $world->dbh->selectrow_array("SELECT payload FROM $TABLE");
  no strict 'refs';
  no warnings 'redefine';
  local *{'Bugzilla::Extension::SourcePulse::FillUpdate::bug_fact'} = sub { die "no fact\n" };
  my $rows = Bugzilla::Extension::SourcePulse::WaitingRows::next_rows(10, 8_000_000);
  BzWorld::fill($rows->[0]);
  is_deeply($json->decode($rows->[0]->{payload}), {v => 1, thin => 'no fact'}, 'is returned without views, and so buried');
  is(scalar(grep {/no views can be made of row $rows->[0]->{id}: no fact/} @warnings), 1, 'the log names the row');
  is(scalar $world->dbh->selectrow_array("SELECT payload FROM $TABLE"), $stored, 'which keeps what was stored, to be tried again');
};

subtest 'custom fields that are others meanwhile' => sub {
  my $field  = sub { $world->dbh->do('UPDATE fielddefs SET type = ?, obsolete = ? WHERE name = ?', undef, @_[1, 2, 0]); $world->new_request };
  my $secret = $world->create_bug(groups => ['secretgroup']);
  my $bug    = $world->create_bug(cf_big => 'set long ago');
  $field->('cf_big', 4, 1);
  my ($view) = public_after(
    sub { $world->update_bug($bug, cf_text => 'words', cf_bug => $secret, cf_multi => ['a', 'b']) },
    sub { $field->('cf_big', 4, 0); $field->('cf_text', 1, 1); $field->('cf_bug', 10, 0); $field->('cf_multi', 1, 0) },
  );
  $field->(@$_) foreach ['cf_text', 1, 0], ['cf_bug', 6, 0], ['cf_multi', 3, 0];
  ok(!exists $view->{bug}->{cf_big}, 'one that was not in use is not published empty');
  is($view->{bug}->{cf_text}, 'words', 'one that is no longer in use has its value');
  is_deeply($view->{bug}->{cf_multi}, ['a', 'b'], 'as the type that it had');
  is($view->{bug}->{cf_bug}, undef, 'the number of a secret bug stays secret');
  my %change = map { $_->{field_name} => $_ } @{$view->{changes}};
  is_deeply([sort keys %change], [qw(cf_multi cf_text)], 'and so do the changes');
  is_deeply($change{cf_multi}->{added}, ['a', 'b'], 'with their values');
};

subtest 'a status that is another meanwhile' => sub {
  my $bug    = $world->create_bug;
  my $rename = sub { $world->dbh->do('UPDATE bug_status SET value = ? WHERE value = ?', undef, @_) };
  my $open   = 'IN_PROGRESS';
  my (@views) = public_after(
    sub {
      $world->update_bug($bug, bug_status => $open);
      $world->update_bug($bug, bug_status => 'RESOLVED', resolution => 'FIXED');
      $world->update_bug($bug, priority => 'High');
    },
    sub { $rename->('ASSIGNED', $open); $rename->('DONE', 'RESOLVED'); $world->dbh->do(q{UPDATE bug_status SET is_open = 1 WHERE value = 'DONE'}) },
  );
  $rename->($open, 'ASSIGNED');
  $rename->('RESOLVED', 'DONE');
  $world->dbh->do(q{UPDATE bug_status SET is_open = 0 WHERE value = 'RESOLVED'});
  is_deeply([map { [map { $_ ? 1 : 0 } $_->{was_open}, $_->{bug}->{is_open}] } @views], [[1, 1], [1, 0], [0, 0]], 'was open or not as it was then');
};

subtest 'another time zone' => sub {
  local $ENV{TZ} = 'UTC';
  POSIX::tzset();
  my $bug = $world->create_bug(cf_date => '2026-01-02 03:04:01');
  $world->dbh->do(q{UPDATE bugs SET creation_ts = '2026-01-02 03:04:02' WHERE bug_id = ?}, undef, $bug);
  my ($row) = drained_after(
    sub { $world->update_bug($bug, cf_date => '2026-01-02 03:04:05', comment => {body => 'words'}) },
    sub {
      $ENV{TZ} = 'Asia/Tokyo';
      POSIX::tzset();
      # More times than are kept, so that none is known.
      Bugzilla::Extension::SourcePulse::Times::time_text("2001-01-01 00:01:$_") foreach 10 .. 59, 10 .. 59;
      Bugzilla::Extension::SourcePulse::Times::time_text("2001-01-01 00:02:$_") foreach 10 .. 59;
    },
  );
  my $view = $row->{payload}->{views}->{public};
  my $time = POSIX::strftime('%Y-%m-%dT%H:%M:%S.000000Z', gmtime($row->{payload}->{at}));
  (my $written = $time) =~ s/T(.*)\..*/ $1/;
  is($row->{created_ts}, $written, 'the time of the update is in the zone of the web server');
  is_deeply([$view->{bug}->{last_change_time}, $view->{comments}->[0]->{creation_time}], [$time, $time], 'so are those of the bug and of the comment');
  is($view->{bug}->{creation_time}, '2026-01-02T03:04:02.000000Z', 'that of its creation');
  is($view->{bug}->{cf_date}, '2026-01-02T03:04:05.000000Z', 'and that of a field');
  is_deeply([map { [@$_{qw(removed added)}] } @{$view->{changes}}], [['2026-01-02T03:04:01.000000Z', '2026-01-02T03:04:05.000000Z']], 'also before the change');
};
POSIX::tzset();

subtest 'halves of surrogate pairs' => sub {
  plan skip_all => 'only SQLite stores them' unless lc(Bugzilla->localconfig->{db_driver}) eq 'sqlite';
  no warnings 'surrogate';
  local $SIG{__WARN__} = sub { warn @_ unless "@_" =~ /UTF-16 surrogate/ };
  my $bug  = $world->create_bug;
  my $text = "half \x{d83d}, none \\ud800, whole \x{1f4a9}\x{d800}\x{dc00}, \x{dca9}\x{d83d}\\";
  $world->rows;
  $world->update_bug($bug, comment => {body => $text});
  # As the table has it since before halves were replaced.
  my ($stored) = $world->dbh->selectrow_array("SELECT payload FROM $TABLE");
  unlike($stored, qr/\\ud83d(?!\\ud)|\\udca9\\ud83d/, 'are not stored');
  (my $older = $stored) =~ s/half \\ufffd/half \\ud83d/;
  isnt($older, $stored, 'were stored before');
  foreach my $payload ($stored, $older) {
    my $row = {id => 1, kind => 'bug.update', bug_id => $bug, created_ts => '2026-01-02 03:04:05', payload => $payload};
    BzWorld::fill($row);
    my ($comment) = @{$json->decode($row->{payload})->{views}->{public}->{comments} || []};
    is($comment->{text}, "half \x{fffd}, none \\ud800, whole \x{1f4a9}\x{10000}, \x{fffd}\x{fffd}\\", 'are U+FFFD in the event');
  }
  $world->rows;
};

subtest 'what cannot be read' => sub {
  foreach my $payload ('{"v":2,"raw":{"bug":"secret', '{"v":2,"raw":["secret"]}', '{"v":3,"raw":{"bug":"secret"}}', '{"v":2,"raw":{"bug":"secret"}}',
    '{"v":2,"at":1,"raw":{"bug":"secret"}}') {
    my @warnings;
    local $SIG{__WARN__} = sub { push(@warnings, @_) };
    my $row = {id => 7, kind => 'bug.update', bug_id => 1, created_ts => '2026-01-02 03:04:05', payload => $payload};
    BzWorld::fill($row);
    is_deeply([sort keys %{$json->decode($row->{payload})}], [qw(thin v)], "$payload is returned without what was stored");
    is(scalar(grep {/no views can be made of row 7: /} @warnings), 1, 'the log names the row');
  }
};

subtest 'a row of an earlier version' => sub {
  $world->rows;
  my $payload = '{"v":1,"at":1,"activity":null,"views":{"public":{"bug":{"summary":"raw"}}}}';
  my $row = {id => 1, kind => 'bug.update', bug_id => 1, created_ts => '2026-01-02 03:04:05', payload => $payload};
  BzWorld::fill($row);
  is($row->{payload}, $payload, 'is returned as it is');
};

done_testing();
