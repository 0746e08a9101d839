# pg_dump and pg_restore with several jobs, and pg_dumpall: access methods are in
# a dump, what encrypts tables of other access methods (a tablespace, a database)
# is not, and has to be there first; enforce_encryption refuses what would be
# restored in plaintext.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = TdeVault->create('old', master => 'cluster');
my $place = $old->basedir . '/place';
mkdir $place or die "could not create $place: $!";
$old->safe_psql('postgres', $_)
  foreach "CREATE TABLESPACE place LOCATION '$place' ENCRYPTION USING 'AES256'", 'CREATE DATABASE clinic', 'ALTER DATABASE clinic SET default_table_access_method = tde_heap';
$old->safe_psql('clinic', $_) foreach 'CREATE EXTENSION tde_vault', <<'SQL';
CREATE TABLE patients (id serial PRIMARY KEY, name text, big text);
INSERT INTO patients (name, big) SELECT 'patient ' || g, repeat(md5(g::text), 200) FROM generate_series(1, 1000) g;
CREATE INDEX ON patients (name);
CREATE TABLE visits (id int PRIMARY KEY, patient int REFERENCES patients) ENCRYPTION USING 'AES-256-XTS';
INSERT INTO visits SELECT g, g FROM generate_series(1, 1000) g;
CREATE TABLE days (day date) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO days SELECT '2024-01-01'::date + g FROM generate_series(0, 300) g;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM patients;
CREATE TABLE placed (id int PRIMARY KEY) USING heap TABLESPACE place;
INSERT INTO placed SELECT generate_series(1, 1000);
SQL
use constant COVERED => q{SELECT relname, tde_vault.is_encrypted(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm') ORDER BY 1};
use constant DIGEST => q{SELECT (SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM patients p), (SELECT md5(string_agg(v::text, ',' ORDER BY id)) FROM visits v), (SELECT count(*) FROM days), (SELECT count(*) FROM counted)};
my $all = "counted|t\ndays_1|t\npatients|t\nplaced|t\nvisits|t";
$old->sql_is(COVERED, $all, 'all is encrypted', db => 'clinic');
my $digest = $old->safe_psql('clinic', DIGEST);

my $dir = PostgreSQL::Test::Utils::tempdir();
$old->command_ok([ 'pg_dump', '-d', $old->connstr('clinic'), '-Fd', '-j', '4', '-f', "$dir/clinic" ], 'pg_dump -j');
$old->command_ok([ 'pg_dumpall', '-d', $old->connstr('postgres'), '--globals-only', '-f', "$dir/globals.sql" ], 'pg_dumpall');
like(slurp_file("$dir/globals.sql"), qr{CREATE TABLESPACE place OWNER postgres LOCATION '[^']+';}, 'the tablespace is in it, without encryption');
$old->safe_psql('clinic', 'DROP TABLE placed');
$old->stop;

my $new = TdeVault->create('new', master => 'cluster');

sub restore
{
	my ($db, %opt) = @_;
	local $ENV{PGOPTIONS} = $opt{options} // '';
	my ($out, $err) = ('', '');
	$new->safe_psql('postgres', "CREATE DATABASE $db");
	$new->safe_psql($db, $opt{first}) if $opt{first};
	my $ok = IPC::Run::run([ 'pg_restore', '-d', $new->connstr($db) . ($opt{user} ? " user=$opt{user}" : ''), '-j', '4', @{ $opt{arguments} // [] }, "$dir/clinic" ], '>', \$out, '2>', \$err);
	return ($ok, $err);
}

# --- a tablespace that is plain in the new cluster ---

PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $place);
mkdir $place or die "could not create $place: $!";
$new->safe_psql('postgres', "CREATE TABLESPACE place LOCATION '$place'");
my ($ok, $err) = restore('plain');
ok($ok, 'a restore into a plain tablespace') or diag($err);
$new->sql_is(COVERED, $all =~ s/placed\|t/placed|f/r, 'access methods are restored, and what only its tablespace encrypted is plain', db => 'plain');
($ok, $err) = restore('enforced', options => '-c tde_vault.enforce_encryption=on');
ok(!$ok, 'with enforce_encryption');
like($err, qr/ERROR: .*placed.*encrypt/, 'that table is refused');
$new->sql_is(COVERED, $all =~ s/placed\|t\n//r, 'and the others are there', db => 'enforced');

# --- the scope first ---

$new->safe_psql('postgres', $_) foreach 'DROP DATABASE plain WITH (FORCE)', 'ALTER TABLESPACE place ENABLE ENCRYPTION';
($ok, $err) = restore('clinic', options => '-c tde_vault.enforce_encryption=on');
ok($ok, 'a restore after the tablespace was encrypted') or diag($err);
$new->sql_is(COVERED, $all, 'all is encrypted again', db => 'clinic');
$new->sql_is(DIGEST, $digest, 'and the same', db => 'clinic');
$new->sql_is(q{SELECT DISTINCT cipher FROM tde_vault.encryption_status WHERE relation = 'visits'::regclass AND fork = 'main'}, 'aes-256-gcm', 'with the cipher that is the default here', db => 'clinic');
$new->verify_ok('verify is clean', db => 'clinic', min => 6);

# --- another superuser than the one who made the extension where it was dumped ---

$new->safe_psql('postgres', 'CREATE ROLE second SUPERUSER LOGIN');
($ok, $err) = restore('of_second', user => 'second');
ok($ok, 'a restore by another superuser') or diag($err);
$new->sql_is(COVERED, $all, 'all is encrypted', db => 'of_second');
$new->sql_is(q{SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'tde_vault'}, 'second', 'and the extension and its schema are theirs', db => 'of_second');

# --- a database that has the extension ---

($ok, $err) = restore('stopped', first => 'CREATE EXTENSION tde_vault', arguments => ['--exit-on-error']);
ok(!$ok, 'a restore that ends at the first error, into a database that has the extension');
like($err, qr/ERROR:  schema "tde_vault" already exists/, 'ends at its schema');
($ok, $err) = restore('prepared', first => q{CREATE EXTENSION tde_vault; CALL tde_vault.create_master_key('own_key')});
is(join(' ', $err =~ /ERROR:  (.*)/g), 'schema "tde_vault" already exists', 'one that goes on has that error only');
$new->sql_is(COVERED, $all, 'and encrypts all', db => 'prepared');
done_testing();
