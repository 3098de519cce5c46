#!/usr/bin/perl
# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0

# Makes a new fake Bugzilla in a folder: `perl make.pl FOLDER`. The modules are copied, the extension is linked.

use 5.10.1;
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Find qw(find);
use File::Path qw(make_path);

my $from      = dirname(abs_path(__FILE__));
my $extension = abs_path("$from/../..");
my ($folder) = @ARGV or die "usage: make.pl FOLDER\n";

make_path("$folder/data", "$folder/extensions");
find({no_chdir => 1, wanted => sub {
  my ($rest) = $_ =~ m{\A\Q$from\E/(.+\.pm)\z} or return;
  make_path(dirname("$folder/$rest"));
  copy($_, "$folder/$rest") or die "$rest cannot be copied: $!\n";
}}, $from);
symlink($extension, "$folder/extensions/SourcePulse") or die "the extension cannot be linked: $!\n";

chdir($folder) or die "$folder: $!\n";
unshift(@INC, abs_path('.'));
{
  open(my $file, '>', 'data/params.json') or die "no parameters: $!\n";
  print {$file} '{"insidergroup": "admin", "or_groups": 0, "requirelogin": 0, "shutdownhtml": "", "sslbase": "", "urlbase": "http://bugs.example.org/",'
    . ' "useqacontact": 1, "usevisibilitygroups": 0}';
}
require Bugzilla;
Bugzilla->extensions;
require Bugzilla::Extension::SourcePulse::Params;
Bugzilla->set_params(map { $_->{name} => $_->{default} } Bugzilla::Extension::SourcePulse::Params->get_param_list);

my %TYPE = (INTSERIAL => 'INTEGER', INT4 => 'INTEGER', BOOLEAN => 'INTEGER', LONGTEXT => 'TEXT', DATETIME => 'TEXT');
my $schema = {};
Bugzilla::Hook::process('db_schema_abstract_schema', {schema => $schema});
my $dbh = Bugzilla->dbh;
$dbh->do('PRAGMA journal_mode = DELETE');
my $sql = do { local $/; <DATA> };
$dbh->do($_) foreach grep { /\S/ } split(/;\n/, $sql);
foreach my $table (keys %$schema) {
  my @columns;
  my @fields = @{$schema->{$table}->{FIELDS}};
  while (my ($name, $about) = splice(@fields, 0, 2)) {
    my $type = $TYPE{$about->{TYPE}} || 'TEXT';
    $type .= $about->{TYPE} eq 'INTSERIAL' ? ' PRIMARY KEY AUTOINCREMENT' : ' PRIMARY KEY' if $about->{PRIMARYKEY};
    $type .= ' NOT NULL' if $about->{NOTNULL} && !$about->{PRIMARYKEY};
    $type .= ' DEFAULT 0' if exists $about->{DEFAULT};
    push(@columns, "$name $type");
  }
  $dbh->do("CREATE TABLE $table (" . join(', ', @columns) . ')');
}

__DATA__
CREATE TABLE profiles (userid INTEGER PRIMARY KEY, login_name TEXT NOT NULL UNIQUE, realname TEXT);
CREATE TABLE groups (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, isbuggroup INTEGER NOT NULL);
CREATE TABLE user_group_map (user_id INTEGER NOT NULL, group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE);
CREATE TABLE classifications (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, classification_id INTEGER NOT NULL, isactive INTEGER NOT NULL DEFAULT 1);
CREATE TABLE components (id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, name TEXT NOT NULL, isactive INTEGER NOT NULL DEFAULT 1);
CREATE TABLE versions (id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, value TEXT NOT NULL, isactive INTEGER NOT NULL DEFAULT 1);
CREATE TABLE milestones (id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, value TEXT NOT NULL, isactive INTEGER NOT NULL DEFAULT 1);
CREATE TABLE group_control_map (product_id INTEGER NOT NULL, group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE, membercontrol INTEGER NOT NULL);
CREATE TABLE bug_status (value TEXT PRIMARY KEY, is_open INTEGER NOT NULL);
CREATE TABLE keyworddefs (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE fielddefs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type INTEGER NOT NULL, custom INTEGER NOT NULL, obsolete INTEGER NOT NULL);
CREATE TABLE flagtypes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, target_type TEXT NOT NULL);
CREATE TABLE flaginclusions (type_id INTEGER NOT NULL, product_id INTEGER);
CREATE TABLE bugs (bug_id INTEGER PRIMARY KEY, assigned_to INTEGER NOT NULL, bug_file_loc TEXT NOT NULL, bug_severity TEXT NOT NULL, bug_status TEXT NOT NULL, creation_ts TEXT, delta_ts TEXT NOT NULL, short_desc TEXT NOT NULL, op_sys TEXT NOT NULL, priority TEXT NOT NULL, product_id INTEGER NOT NULL, rep_platform TEXT NOT NULL, reporter INTEGER NOT NULL, version TEXT NOT NULL, component_id INTEGER NOT NULL, resolution TEXT NOT NULL, target_milestone TEXT NOT NULL, qa_contact INTEGER, status_whiteboard TEXT NOT NULL, everconfirmed INTEGER NOT NULL, deadline TEXT, estimated_time TEXT, cf_text TEXT NOT NULL DEFAULT '', cf_select TEXT NOT NULL DEFAULT '---', cf_big TEXT NOT NULL DEFAULT '', cf_date TEXT, cf_day TEXT, cf_bug INTEGER, cf_int INTEGER NOT NULL DEFAULT 0);
CREATE TABLE bug_cf_multi (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, value TEXT NOT NULL);
CREATE TABLE bug_group_map (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, group_id INTEGER NOT NULL REFERENCES groups (id) ON DELETE CASCADE, UNIQUE (bug_id, group_id));
CREATE TABLE cc (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, who INTEGER NOT NULL);
CREATE TABLE keywords (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, keywordid INTEGER NOT NULL REFERENCES keyworddefs (id) ON DELETE CASCADE);
CREATE TABLE bugs_aliases (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, alias TEXT NOT NULL UNIQUE);
CREATE TABLE bug_see_also (bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, value TEXT NOT NULL);
CREATE TABLE dependencies (blocked INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, dependson INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE);
CREATE TABLE duplicates (dupe INTEGER PRIMARY KEY REFERENCES bugs (bug_id) ON DELETE CASCADE, dupe_of INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE);
CREATE TABLE longdescs (comment_id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, who INTEGER NOT NULL, bug_when TEXT NOT NULL, thetext TEXT NOT NULL, isprivate INTEGER NOT NULL, type INTEGER NOT NULL, extra_data TEXT);
CREATE TABLE attachments (attach_id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, creation_ts TEXT NOT NULL, modification_time TEXT NOT NULL, description TEXT NOT NULL, mimetype TEXT NOT NULL, ispatch INTEGER NOT NULL DEFAULT 0, filename TEXT NOT NULL, submitter_id INTEGER NOT NULL, isobsolete INTEGER NOT NULL DEFAULT 0, isprivate INTEGER NOT NULL DEFAULT 0);
CREATE TABLE attach_data (id INTEGER PRIMARY KEY REFERENCES attachments (attach_id) ON DELETE CASCADE, thedata BLOB NOT NULL);
CREATE TABLE flags (id INTEGER PRIMARY KEY AUTOINCREMENT, type_id INTEGER NOT NULL REFERENCES flagtypes (id) ON DELETE CASCADE, status TEXT NOT NULL, bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, attach_id INTEGER REFERENCES attachments (attach_id) ON DELETE CASCADE, creation_date TEXT NOT NULL, modification_date TEXT, setter_id INTEGER NOT NULL, requestee_id INTEGER);
CREATE TABLE bugs_activity (id INTEGER PRIMARY KEY AUTOINCREMENT, bug_id INTEGER NOT NULL REFERENCES bugs (bug_id) ON DELETE CASCADE, attach_id INTEGER REFERENCES attachments (attach_id) ON DELETE CASCADE, who INTEGER NOT NULL, bug_when TEXT NOT NULL, fieldid INTEGER NOT NULL, added TEXT, removed TEXT, comment_id INTEGER REFERENCES longdescs (comment_id) ON DELETE CASCADE);
CREATE TABLE audit_log (user_id INTEGER, class TEXT NOT NULL, object_id INTEGER NOT NULL, field TEXT NOT NULL, removed TEXT, added TEXT, at_time TEXT NOT NULL);
INSERT INTO profiles VALUES (1, 'admin@example.org', 'Ada'), (2, 'bob@example.org', 'Bob');
INSERT INTO groups VALUES (1, 'admin', 0), (2, 'editbugs', 0), (3, 'secretgroup', 1), (4, 'othergroup', 1);
INSERT INTO user_group_map VALUES (1, 1), (1, 2), (1, 3), (1, 4), (2, 2);
INSERT INTO classifications VALUES (1, 'Unclassified');
INSERT INTO products VALUES (1, 'TestProduct', 1, 1), (2, 'Secret', 1, 1);
INSERT INTO components VALUES (1, 1, 'TestComponent', 1), (2, 1, 'Other', 1), (3, 2, 'SecretComponent', 1);
INSERT INTO versions VALUES (1, 1, 'unspecified', 1), (2, 2, 'unspecified', 1);
INSERT INTO milestones VALUES (1, 1, '---', 1), (2, 2, '---', 1);
INSERT INTO group_control_map VALUES (2, 3, 3);
INSERT INTO bug_status VALUES ('UNCONFIRMED', 1), ('CONFIRMED', 1), ('IN_PROGRESS', 1), ('RESOLVED', 0), ('VERIFIED', 0);
INSERT INTO keyworddefs VALUES (1, 'kw1'), (2, 'kw2');
INSERT INTO fielddefs VALUES (1, 'cf_text', 1, 1, 0), (2, 'cf_select', 2, 1, 0), (3, 'cf_multi', 3, 1, 0), (4, 'cf_big', 4, 1, 0), (5, 'cf_date', 5, 1, 0), (6, 'cf_bug', 6, 1, 0), (7, 'cf_day', 9, 1, 0), (8, 'cf_int', 10, 1, 0);
INSERT INTO flagtypes VALUES (1, 'needinfo', 'b'), (2, 'review', 'a'), (3, 'product-only', 'b'), (4, 'core-review', 'a');
INSERT INTO flaginclusions VALUES (1, NULL), (2, NULL), (3, 1), (4, 1);
