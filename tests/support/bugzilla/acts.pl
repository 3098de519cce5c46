# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# What people, administrators and other programs do to a Bugzilla, fake or real, beside what worker.pl has
# itself. Each act is called with a world, a step and the number of a bug; what has to be picked is picked by the step.
package Acts;

use 5.10.1;
use strict;
use warnings;

use Bugzilla::Constants qw(CMT_ATTACHMENT_CREATED CMT_ATTACHMENT_UPDATED);
use Bugzilla::Component;
use Bugzilla::FlagType;
use Bugzilla::Keyword;
use Bugzilla::Milestone;
use Bugzilla::Version;

use constant IMPORTED_TIME => '2019-01-02 03:04:05';

# A public product that has none of the flag types of TestProduct, and a flag of an attachment that only TestProduct has.
use constant {ELSEWHERE => 'Elsewhere', THERE => 'There', CORE_FLAG => 'core-review'};

sub column { my ($world, @rest) = @_; return @{$world->dbh->selectcol_arrayref(@rest)}; }

sub pick { my ($number, @from) = @_; return @from ? $from[$number % @from] : undef; }

sub now { my ($world) = @_; my ($now) = column($world, 'SELECT LOCALTIMESTAMP(0)'); return $now; }

# What this walk made; walks before it in the same tree did the same.
sub mine { my ($word) = $_[0]->{token} =~ /\A(TOKEN[0-9a-f]+x)/; return "$word%"; }

my %PLACE;

# Products are renamed, so they are known by their numbers; those of `prepare` are noted.
sub prepare {
  my ($world) = @_;
  my $dbh = $world->dbh;
  # A walk before this one may have renamed them.
  my @names = (['TestProduct', 'TestComponent'], ['Secret', 'SecretComponent'], [ELSEWHERE, THERE]);
  foreach my $place (@names) {
    my ($product, $component) = @$place;
    my ($id) = column($world, 'SELECT id FROM products WHERE name LIKE ? ORDER BY id', undef, "$product%");
    if (!$id) {
      my $made = make_product($product);
      $id = $made->id;
      make_below('Bugzilla::Component', $made, $component);
      allow_group($id, Bugzilla::Group->new({name => 'secretgroup'})) if BzWorld::is_real();
    }
    my ($first) = column($world, 'SELECT id FROM components WHERE product_id = ? ORDER BY id', undef, $id);
    $PLACE{$product} = [$id, $first];
  }
  if (!column($world, 'SELECT id FROM flagtypes WHERE name = ?', undef, CORE_FLAG)) {
    make_flag_type(CORE_FLAG, 'attachment', $PLACE{TestProduct}->[0]);
  }
  $world->new_request;
  return;
}

# Product and component as they are called now.
sub place {
  my ($world, $product, $component) = @_;
  my ($id, $first) = @{$PLACE{$product}};
  my ($product_name) = column($world, 'SELECT name FROM products WHERE id = ?', undef, $id);
  my ($component_name)
    = column($world, 'SELECT name FROM components WHERE ' . ($component ? 'product_id = ? AND name = ?' : 'id = ?'), undef,
    $component ? ($id, $component) : $first);
  return (product => $product_name, component => $component_name);
}

sub is_in { my ($world, $bug, $product) = @_; return (column($world, 'SELECT product_id FROM bugs WHERE bug_id = ?', undef, $bug))[0] == $PLACE{$product}->[0]; }

sub make_product {
  my ($name) = @_;
  return Bugzilla::Product->create({name => $name}) unless BzWorld::is_real();
  return Bugzilla::Product->create({name => $name, description => 'x', version => 'unspecified', defaultmilestone => '---',
      allows_unconfirmed => 0, isactive => 1, create_series => 0, classification => 'Unclassified'});
}

sub make_below {
  my ($class, $product, $name) = @_;
  my $column = $class eq 'Bugzilla::Component' ? 'name' : 'value';
  return $class->insert_create_data({$column => $name, product_id => $product->id, isactive => 1}) unless BzWorld::is_real();
  return $class->create({name => $name, product => $product, description => 'x', initialowner => 'admin@example.org', create_series => 0})
    if $column eq 'name';
  return $class->create({value => $name, product => $product});
}

sub make_flag_type {
  my ($name, $target, $product_id) = @_;
  if (BzWorld::is_real()) {
    return Bugzilla::FlagType->create({name => $name, description => 'x', cc_list => '', target_type => $target, sortkey => 1,
      is_active => 1, is_requestable => 1, is_requesteeble => 1, is_multiplicable => 0, grant_group => undef,
      request_group => undef, inclusions => [$product_id ? "$product_id:0" : '0:0'], exclusions => []});
  }
  my $type = Bugzilla::FlagType->insert_create_data({name => $name, target_type => substr($target, 0, 1)});
  Bugzilla->dbh->do('INSERT INTO flaginclusions (type_id, product_id) VALUES (?, ?)', undef, $type->id, $product_id);
  return $type;
}

# Bugs of a real product may be put into a group.
sub allow_group {
  my ($product_id, $group) = @_;
  my $product = Bugzilla::Product->new($product_id);
  $product->set_group_controls($group, {membercontrol => 1, othercontrol => 0});
  $product->update;
  return;
}

sub make_user {
  my ($world, $login) = @_;
  if (BzWorld::is_real()) {
    Bugzilla::User->create({login_name => $login, realname => '', cryptpassword => '*'});
  }
  else {
    my $user = Bugzilla::User->insert_create_data({login_name => $login, realname => ''});
    audit($world, 'Bugzilla::User', $user->id, '__create__', undef, $login);
  }
  return $login;
}

sub audit {
  my ($world, @values) = @_;
  $world->dbh->do('INSERT INTO audit_log (user_id, class, object_id, field, removed, added, at_time) VALUES (?, ?, ?, ?, ?, ?, ?)',
    undef, Bugzilla->user->id, @values, now($world));
  return;
}

sub line {
  my ($world, $bug, $field, $removed, $added) = @_;
  Bugzilla::Bug::LogActivityEntry($bug, $field, $removed, $added, Bugzilla->user->id, now($world));
  $world->dbh->do('UPDATE bugs SET delta_ts = ? WHERE bug_id = ?', undef, now($world), $bug);
  return;
}

sub together {
  my ($world, $work) = @_;
  $world->dbh->bz_start_transaction;
  $work->();
  $world->dbh->bz_commit_transaction;
  return;
}

sub rename_to {
  my ($object, $name) = @_;
  my $column = $object->isa('Bugzilla::Version') || $object->isa('Bugzilla::Milestone') ? 'value' : 'name';
  if (BzWorld::is_real()) {
    my $method = $object->can("set_$column") ? "set_$column" : 'set_name';
    $object->$method($name);
  }
  else { $object->{$column} = $name }
  $object->update;
  return;
}

# What an administrator does by the parameters' page, or with HAND by writing the file.
sub set_params {
  my ($world, $step) = @_;
  $world->params(%{$step->{set}});
  Bugzilla::Hook::process('template_before_process', {file => 'admin/params/editparams.html.tmpl', vars => {}}) unless $step->{hand};
  return;
}

my %BELOW = (component => 'Bugzilla::Component', version => 'Bugzilla::Version', milestone => 'Bugzilla::Milestone');
my @THINGS = sort keys %BELOW;

my %DO = (
  params => \&set_params,
  # A file with the comment that Bugzilla's page makes of it.
  attached => sub {
    my ($world, $step, $bug) = @_;
    together($world, sub {
      my $id = $world->attach($bug, description => "a file $step->{token}a", filename => "$step->{token}f", isprivate => $step->{secret} ? 1 : 0);
      comment_about($bug, $id, CMT_ATTACHMENT_CREATED, "attached $step->{token}b", $step->{secret} && $step->{other} % 3);
    });
  },
  about => sub {
    my ($world, $step, $bug) = @_;
    my $id = file_of($world, $step, $bug) or return;
    comment_about($bug, $id, CMT_ATTACHMENT_UPDATED, "of the file $step->{token}b", $step->{secret});
  },
  # Flags of files that do not go with the bug to another product.
  core_flag => sub {
    my ($world, $step, $bug) = @_;
    my $id = file_of($world, $step, $bug) or return;
    return unless is_in($world, $bug, 'TestProduct');
    my $login = make_user($world, "$step->{token}u\@example.org");
    $world->update_attachment($id, flags => {CORE_FLAG, ['?', $login]});
  },
  bug_flag => sub {
    my ($world, $step, $bug) = @_;
    my $login = make_user($world, "$step->{token}u\@example.org");
    $world->update_bug($bug, flags => {needinfo => ['?', $login]}, short_desc => "a bug $step->{token}a");
  },
  go => sub {
    my ($world, $step, $bug) = @_;
    my $to = ('TestProduct', Acts::ELSEWHERE, Acts::ELSEWHERE, 'Secret')[$step->{other} % 4];
    my @more = $step->{secret} ? (short_desc => "a bug $step->{token}a", comment => {body => "moved $step->{token}b", is_private => $step->{other} % 2}) : ();
    $world->update_bug($bug, place($world, $to), @more);
  },
  status => sub {
    my ($world, $step, $bug) = @_;
    my ($is) = column($world, 'SELECT resolution FROM bugs WHERE bug_id = ?', undef, $bug);
    $world->update_bug($bug, ($is ? (bug_status => 'CONFIRMED') : (bug_status => 'RESOLVED', resolution => 'FIXED')),
      status_whiteboard => "$step->{token}w");
  },
  alias => sub {
    my ($world, $step, $bug) = @_;
    $world->update_bug($bug, alias => {add => ["$step->{token}l"]}, priority => ('High', 'Low', 'Normal')[$step->{other} % 3]);
  },
  see => sub {
    my ($world, $step, $bug) = @_;
    my $other = pick($step->{other}, @{$step->{bugs}});
    $world->update_bug($bug, see_also => {$step->{secret} ? 'remove' : 'add', [$step->{secret} ? local_url($other) : $other]}) if $other != $bug;
  },
  links => sub {
    my ($world, $step, $bug) = @_;
    my @others = grep { $_ != $bug } pick($step->{other}, @{$step->{bugs}}), pick($step->{other} * 7, @{$step->{bugs}});
    $world->update_bug($bug, dependson => {add => \@others}, status_whiteboard => "$step->{token}w") if @others;
  },
  empty => sub {
    my ($world, $step, $bug) = @_;
    my $id = file_of($world, $step, $bug) or return;
    $world->empty_attachment($id);
  },
  # Past all hooks: group controls of a product, and imports.
  sql_hide => sub {
    my ($world, $step, $bug) = @_;
    my ($group) = column($world, q{SELECT id FROM groups WHERE name = 'secretgroup'}) or return;
    return if column($world, 'SELECT 1 FROM bug_group_map WHERE bug_id = ? AND group_id = ?', undef, $bug, $group);
    together($world, sub {
      $world->dbh->do('INSERT INTO bug_group_map (bug_id, group_id) VALUES (?, ?)', undef, $bug, $group);
      line($world, $bug, 'bug_group', '', 'secretgroup');
    });
    return {route => 'history'};
  },
  sql_show => sub {
    my ($world, $step, $bug) = @_;
    my ($group) = column($world, q{SELECT id FROM groups WHERE name = 'secretgroup'}) or return;
    return if is_in($world, $bug, 'Secret') || !column($world, 'SELECT 1 FROM bug_group_map WHERE bug_id = ? AND group_id = ?', undef, $bug, $group);
    together($world, sub {
      $world->dbh->do('DELETE FROM bug_group_map WHERE bug_id = ? AND group_id = ?', undef, $bug, $group);
      line($world, $bug, 'bug_group', 'secretgroup', '');
    });
    return {route => 'history'};
  },
  import => sub {
    my ($world, $step, $bug) = @_;
    my $dbh = $world->dbh;
    my $statement = $dbh->prepare('SELECT * FROM bugs WHERE bug_id = 0');
    $statement->execute;
    my $columns = join(', ', grep { !/\Abug_id\z/i } @{$statement->{NAME_lc}});
    $statement->finish;
    together($world, sub {
      $dbh->do("INSERT INTO bugs ($columns) SELECT $columns FROM bugs WHERE bug_id = ?", undef, $bug);
      my $id = $dbh->bz_last_key('bugs', 'bug_id');
      $dbh->do('UPDATE bugs SET short_desc = ?, cf_text = ?, status_whiteboard = ?, cf_bug = NULL, creation_ts = ?, delta_ts = ?, resolution = ?, bug_status = ?, qa_contact = NULL, assigned_to = reporter WHERE bug_id = ?',
        undef, "a bug $step->{token}a", "$step->{token}c", '', IMPORTED_TIME, now($world), '', 'CONFIRMED', $id);
      my ($group) = column($world, q{SELECT id FROM groups WHERE name = 'secretgroup'});
      $dbh->do('INSERT INTO bug_group_map (bug_id, group_id) VALUES (?, ?)', undef, $id, $group) if $step->{secret} || is_in($world, $id, 'Secret');
      foreach my $comment ([IMPORTED_TIME, "described $step->{token}b", 0], [IMPORTED_TIME, "whispered $step->{token}p", 1],
        [now($world), "--- Bug imported by admin\@example.org $step->{token}d ---", 0]) {
        $dbh->do('INSERT INTO longdescs (bug_id, who, bug_when, thetext, isprivate, type) VALUES (?, ?, ?, ?, ?, 0)',
          undef, $id, Bugzilla->user->id, @$comment);
      }
    });
    return {route => 'history'};
  },
  # What goes, with what it takes from bugs.
  keyword => sub {
    my ($world, $step, $bug) = @_;
    my $name = "$step->{token}k";
    BzWorld::is_real() ? Bugzilla::Keyword->create({name => $name, description => 'x'}) : Bugzilla::Keyword->insert_create_data({name => $name});
    $world->new_request;
    $world->update_bug($_, keywords => {add => [$name]}) foreach $bug, grep { $_ != $bug } pick($step->{other}, @{$step->{bugs}});
  },
  drop_keyword => sub {
    my ($world, $step) = @_;
    my $id = pick($step->{other}, column($world, 'SELECT id FROM keyworddefs WHERE name LIKE ? ORDER BY id', undef, mine($step))) or return;
    Bugzilla::Keyword->new($id)->remove_from_db;
  },
  flag_type => sub {
    my ($world, $step, $bug) = @_;
    my $file = $step->{secret} ? file_of($world, $step, $bug) : undef;
    make_flag_type("$step->{token}t", $file ? 'attachment' : 'bug', undef);
    $world->new_request;
    $file ? $world->update_attachment($file, flags => {"$step->{token}t" => '?'}) : $world->update_bug($bug, flags => {"$step->{token}t" => '?'});
  },
  drop_flag_type => sub {
    my ($world, $step) = @_;
    my $id = pick($step->{other}, column($world, 'SELECT id FROM flagtypes WHERE name LIKE ? ORDER BY id', undef, mine($step))) or return;
    Bugzilla::FlagType->new($id)->remove_from_db;
  },
  group => sub {
    my ($world, $step, $bug) = @_;
    my $name = "group$step->{token}";
    my $group;
    if (BzWorld::is_real()) {
      $group = Bugzilla::Group->create({name => $name, description => 'x', isbuggroup => 1, isactive => 1});
      allow_group($PLACE{TestProduct}->[0], $group);
      $world->new_request;
    }
    else { $group = Bugzilla::Group->insert_create_data({name => $name, isbuggroup => 1}) }
    return unless is_in($world, $bug, 'TestProduct');
    $world->update_bug($bug, groups => {add => [$name]}, short_desc => "a bug $step->{token}a");
  },
  drop_group => sub {
    my ($world, $step) = @_;
    my $id = pick($step->{other}, column($world, 'SELECT id FROM groups WHERE name LIKE ? ORDER BY id', undef, 'group' . mine($step))) or return;
    Bugzilla::Group->new($id)->remove_from_db({map { ("remove_from_$_" => 1) } qw(users bugs products flags)});
  },
  # As editusers.cgi deletes a user.
  user => sub {
    my ($world, $step, $bug) = @_;
    my $login = make_user($world, "$step->{token}u\@example.org");
    $world->update_bug($bug, $step->{secret} ? (qa_contact => $login) : (cc => {add => [$login]}));
  },
  drop_user => sub {
    my ($world, $step) = @_;
    my $id = pick($step->{other}, column($world, 'SELECT userid FROM profiles WHERE login_name LIKE ?
        AND userid NOT IN (SELECT setter_id FROM flags UNION SELECT requestee_id FROM flags WHERE requestee_id IS NOT NULL) ORDER BY userid',
      undef, mine($step))) or return;
    my $dbh = $world->dbh;
    my ($login) = column($world, 'SELECT login_name FROM profiles WHERE userid = ?', undef, $id);
    together($world, sub {
      line($world, $_, 'cc', $login, '') foreach column($world, 'SELECT bug_id FROM cc WHERE who = ?', undef, $id);
      line($world, $_, 'qa_contact', $login, '') foreach column($world, 'SELECT bug_id FROM bugs WHERE qa_contact = ?', undef, $id);
      $dbh->do('DELETE FROM cc WHERE who = ?', undef, $id);
      $dbh->do('UPDATE bugs SET qa_contact = NULL WHERE qa_contact = ?', undef, $id);
      audit($world, 'Bugzilla::User', $id, '__remove__', $login, undef);
      $dbh->do('DELETE FROM profiles WHERE userid = ?', undef, $id);
    });
    return {route => 'history'};
  },
  # What bugs are filed under, of a public or a private product.
  thing => sub {
    my ($world, $step) = @_;
    my $class = $BELOW{$THINGS[$step->{other} % @THINGS]};
    my $product = $PLACE{$step->{secret} ? 'Secret' : Acts::ELSEWHERE}->[0];
    my $column = $class->NAME_FIELD;
    my $table = $class->DB_TABLE;
    # Bugs are moved to the first component, which stays.
    my ($id) = column($world, "SELECT id FROM $table WHERE product_id = ? AND $column LIKE ? AND id > ? ORDER BY id",
      undef, $product, mine($step), $column eq 'name' ? $PLACE{$step->{secret} ? 'Secret' : Acts::ELSEWHERE}->[1] : 0);
    my $how = $id ? $step->{other} % 5 : 0;
    if    ($how < 2)  { make_below($class, Bugzilla::Product->new($product), "$step->{token}n") }
    elsif ($how < 4)  { rename_to($class->new($id), "$step->{token}n") }
    else              { $class->new($id)->remove_from_db }
    return {route => 'thing'};
  },
  rename => sub {
    my ($world, $step) = @_;
    my $name = ('Secret', 'TestProduct', Acts::ELSEWHERE, 'Secret')[$step->{other} % 4];
    my ($id, $component) = @{$PLACE{$name}};
    if ($step->{secret}) { rename_to(Bugzilla::Component->new($component), "$step->{token}n") }
    else                 { rename_to(Bugzilla::Product->new($id), "$name $step->{token}n") }
    return {route => 'thing'};
  },
);

sub file_of {
  my ($world, $step, $bug) = @_;
  return pick($step->{other}, column($world, 'SELECT attach_id FROM attachments WHERE bug_id = ? ORDER BY attach_id', undef, $bug));
}

sub comment_about {
  my ($bug_id, $attach_id, $type, $text, $is_private) = @_;
  my $bug = Bugzilla::Bug->new($bug_id);
  my %more = (isprivate => $is_private ? 1 : 0, type => $type, extra_data => $attach_id);
  if (BzWorld::is_real()) { $bug->add_comment($text, \%more) }
  else                    { push(@{$bug->{added_comments}}, {thetext => $text, %more}) }
  $bug->update;
  return;
}

sub local_url { my $url = Bugzilla::BugUrl::Bugzilla::Local->local_uri($_[0]); return "$url"; }

my @COLLECTORS = qw(RecordBug::_bug_created RecordBug::_bug_updated RecordBug::_bug_deleted RecordAttachment::_attachment_row);
my @THIN       = qw(RecordBug::thin_row_now RecordAttachment::thin_row_now);

# Runs WORK while the extension cannot read or write what happened: "thin" leaves it the short row, "blind" one that does
# not know the lines of the history either, "missed" nothing.
sub broken {
  my ($how, $work) = @_;
  no strict 'refs';
  no warnings qw(redefine once);
  my %kept;
  my @names = (@COLLECTORS, $how eq 'missed' ? @THIN : ());
  push(@names, 'RecordBug::_read_update', 'RecordAttachment::_last_activity') if $how eq 'blind';
  foreach my $name (@names) {
    my $full = "Bugzilla::Extension::SourcePulse::$name";
    $kept{$full} = \&$full;
    *$full = sub { die "this test broke it\n" };
  }
  my $ok = eval { $work->(); 1 };
  my $error = $@;
  *$_ = $kept{$_} foreach keys %kept;
  die $error unless $ok;
  return;
}

\%DO;
