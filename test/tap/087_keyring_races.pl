# Master keys that are made and rotated by several at a time, while tables are
# made, dropped and written; and those of databases that are dropped or copied.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
max_locks_per_transaction = 256
CONF
my $dir = $node->basedir;

# A provider that takes its time: 0.2 s for opening.
$node->write_file("$dir/phrase", 'correct horse battery staple');
chmod 0600, "$dir/phrase";
my $slow = "passphrase:$dir/phrase";

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t AS SELECT g, md5(g::text) AS m FROM generate_series(1, 1000) g;
CREATE FUNCTION of_db(name) RETURNS TABLE (key_id text, state text, keys int) LANGUAGE sql AS
	'SELECT m.key_id, m.state, m.keys FROM tde_vault.master_keys() m JOIN pg_database d ON d.oid = m.database AND d.datname = $1';
SQL

# --- two rotations ---------------------------------------------------------------

my $first = $node->background_psql('postgres', on_error_stop => 0);
my $second = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $first->query_safe('SELECT pg_backend_pid()');
$first->query_until(qr/go/, "\\echo go\nCALL tde_vault.rotate_master_key('slow', '$slow');\n\\echo done\n");
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
until ($second->query_safe("SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype = 'object' AND classid = 'pg_database'::regclass AND objsubid = 1 AND granted"))
{
	die 'no rotation was seen' if time > $deadline;
}
kill 'STOP', $pid;
$node->sql_fails('ALTER DATABASE ROTATE MASTER KEY', '55006', qr/being rotated already/, 'a second rotation is refused');
$node->create_database('other', key_id => 'other_1');
$node->sql_fails('ALTER DATABASE ROTATE MASTER KEY', '55006', qr/being rotated already/, '... also of another database', db => 'other');
$node->sql_is('CREATE TABLE meanwhile AS SELECT 1 AS x; SELECT count(*), (SELECT x FROM meanwhile) FROM t', '1000|1', 'tables are made and read meanwhile');
kill 'CONT', $pid;
$first->query_until(qr/done/, '');
$node->sql_is(q{SELECT state, count(*) FROM of_db('postgres') GROUP BY 1 ORDER BY 1}, "active|1\nretired|1", 'the first one ends as ever');
$node->sql_is(q{SELECT keys > 1 FROM of_db('postgres') WHERE key_id = 'slow'}, 't', '... with every key');
$node->sql_is('SELECT count(*) FROM tde_vault.master_key_rotation()', '0', '... and reports nothing more');

# a session that is terminated gives way
$pid = $second->query_safe('SELECT pg_backend_pid()');
$second->query_until(qr/go/, "\\echo go\nCALL tde_vault.rotate_master_key('slower', '$slow');\n");
$deadline = time + $PostgreSQL::Test::Utils::timeout_default;
until ($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE pid = $pid AND objsubid = 1 AND granted"))
{
	die 'no rotation was seen' if time > $deadline;
}
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
$node->safe_psql('postgres', "CALL tde_vault.rotate_master_key('slowest', '$slow')");
$node->sql_is(q{SELECT key_id FROM of_db('postgres') WHERE state = 'active'}, 'slowest', 'a session that is terminated does not keep others from it');
$node->sql_is(q{SELECT count(*) FROM of_db('postgres') WHERE state = 'rotating'}, '0', '... and what it began is ended');
$node->sql_is('SELECT count(*) FROM tde_vault.master_key_rotation()', '0', '... and reported no more');
$first->quit;
eval { $second->quit };

# --- several first keys ------------------------------------------------------------

$node->create_database('fresh', key_id => '');
my @said;
my @calls = map {
	my $n = $_;
	$said[$n] = '';
	IPC::Run::start([ 'psql', '-X', '-q', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr('fresh'), '-c', "CALL tde_vault.create_master_key('key_$n', '$slow')" ],
		'<', \undef, '>', \$said[$n], '2>&1')
} 0 .. 3;
my $succeeded = grep { $_->finish } @calls;
is($succeeded, 1, 'of several sessions that make the first master key, one does');
is(scalar(grep { /42710/ } @said), 3, '... and the others learn that there is one');
$node->sql_is(q{SELECT string_agg(state, ',') FROM of_db('fresh')}, 'active', '... and there is one');

# --- load ---------------------------------------------------------------------------

PostgreSQL::Test::Utils::append_to_file("$dir/tables.sql", <<'SQL');
DROP TABLE IF EXISTS c:client_id;
CREATE TABLE c:client_id (g int PRIMARY KEY, m text);
INSERT INTO c:client_id SELECT g, md5(g::text) FROM generate_series(1, 20) g;
TRUNCATE c:client_id;
INSERT INTO c:client_id SELECT g, md5(g::text) FROM generate_series(1, 20) g;
SQL
PostgreSQL::Test::Utils::append_to_file("$dir/rows.sql", "\\set g random(1, 1000)\nUPDATE t SET m = md5(m) WHERE g = :g;\n");
$node->safe_psql('postgres', join('', map { "CREATE TABLE many$_ (id int);\n" } 1 .. 200));
my $watch_said = '';
my $watch = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', <<'SQL' ], '<', \undef, '>', \$watch_said, '2>&1');
DO $$ BEGIN
	FOR i IN 1 .. 100000 LOOP
		IF EXISTS (SELECT FROM tde_vault.encryption_progress WHERE operation = 'rotate master key' AND database = 'postgres'
			AND pages_total >= 200 AND pages_done <= pages_total AND percent BETWEEN 0 AND 100 AND state = 'running') THEN
			RAISE NOTICE 'seen';
			EXIT;
		END IF;
	END LOOP;
END $$
SQL
my $load_said = '';
my $load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 5, '-f', "$dir/tables.sql", '-f', "$dir/rows.sql", '-d', $node->connstr('postgres') ],
	'<', \undef, '>', \$load_said, '2>&1');
my $rotations = 0;
while ($load->pumpable)
{
	my $uri = $rotations % 2 ? $node->provider_uri : $slow;
	$node->safe_psql('postgres', "CALL tde_vault.rotate_master_key('load_$rotations', '$uri')");
	$rotations++;
	$load->pump_nb;
}
ok($load->finish, 'tables are made, dropped and written under rotations') or diag($load_said);
unlike($load_said, qr/ERROR|aborted/, '... without an error');
$watch->finish;
like($watch_said, qr/NOTICE:  seen/, '... they show in encryption_progress');
cmp_ok($rotations, '>', 1, "... $rotations of them");
my $wrapped = q{SELECT string_agg(DISTINCT m.state || ' ' || m.key_id, ',') FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id
	WHERE k.database = (SELECT oid FROM pg_database WHERE datname = 'postgres')};
$node->sql_is($wrapped, 'active load_' . ($rotations - 1), 'no key was left behind');
$node->verify_ok('verify is clean', min => 6);
$node->stop('immediate');
$node->start;
$node->sql_is($wrapped, 'active load_' . ($rotations - 1), 'nor by a crash');
$node->verify_ok('verify is clean after a crash', min => 6);
$node->sql_is(join(' UNION ALL ', map { "SELECT count(*) FROM c$_" } 0 .. 3), join("\n", (20) x 4), 'the tables are there');

# --- databases that are dropped, and their copies --------------------------------------

$node->safe_psql('other', 'CREATE TABLE o AS SELECT 42 AS x');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE other');
my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'other'});
my $state = "SELECT string_agg(state || ' ' || (keys > 0), ',') FROM tde_vault.master_keys() WHERE database = $oid";
$node->sql_is($state, 'active true', 'a database has its master key');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->stop('immediate');
$node->start;
$node->sql_is($state, 'retired true', 'when it is dropped, the key is retired: a copy still needs it');
$node->sql_is('SELECT x FROM o', '42', '... and can be read', db => 'copy');
$node->sql_fails('CREATE TABLE n AS SELECT 1 AS x', 'TV003', qr/HINT:.*create_master_key/s, '... but gets no new keys', db => 'copy');
$node->sql_fails('ALTER DATABASE ROTATE MASTER KEY', 'TV003', qr/no master key to rotate/, '... and there is nothing to rotate', db => 'copy');
$node->safe_psql('copy', q{CALL tde_vault.create_master_key('copy_1')});
$node->safe_psql('copy', q{CALL tde_vault.rotate_master_key('copy_2')});
$node->sql_is(q{SELECT key_id, state, keys > 0 FROM of_db('copy') ORDER BY 1}, "copy_1|retired|f\ncopy_2|active|t", 'a key of its own, and it wraps all');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->restart;
$node->sql_is("SELECT count(*) FROM tde_vault.master_keys() WHERE database = $oid", '0', 'then nothing is left of the other one');
$node->sql_is('SELECT x FROM o', '42', 'and the copy can be read', db => 'copy');

$node->stop;
done_testing();
