# The first master key that a database gets of its own, in the place of the
# cluster's, cut off after each of its records, one after the other: every table
# can be read, the server says that it is not finished and what to type, and goes
# on by itself as soon as it can.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TABLES => 3;

my $node = TdeVault->create('main', master => 'cluster', conf => <<'CONF');
default_table_access_method = tde_heap
max_worker_processes = 2
CONF
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
$node->safe_psql('other', 'CREATE EXTENSION tde_vault');
$node->safe_psql('other', 'CREATE TABLE o AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g');
$node->safe_psql('postgres', join '', map { "CREATE TABLE t$_ AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g;\n" } 1 .. TABLES);
$node->stop;
my $before = () = keyring_records(slurp_file($node->keyring_path));
$node->start;
$node->safe_psql('postgres', "ALTER DATABASE ROTATE MASTER KEY KEY_ID 'own'");
$node->stop;
my $whole = slurp_file($node->keyring_path);
my @records = keyring_records($whole);
my @masters = grep { $records[$_][0] == MASTER_KEY } $before - 1 .. $#records;
is(scalar(@masters), 2, 'a first master key is recorded, and that it has taken over');
is_deeply([ map { unpack 'v', substr($records[$_][1], 6, 2) } @masters ], [ 2, 1 ], '... in versions 2 and 1 of its record');
my ($from, $to) = @masters;
my $keys = grep { $records[$_][0] == TABLE_KEY } $from .. $to;
cmp_ok($keys, '>=', TABLES, '... and between the two, all keys of the database');

my $unfinished = q{SELECT state, database, pages_done, pages_total, detail ~ 'ALTER DATABASE postgres ROTATE MASTER KEY$' FROM tde_vault.encryption_progress};
my $wrapped = q{SELECT string_agg(DISTINCT m.key_id, ',') FROM tde_vault.table_keys() k JOIN tde_vault.master_keys() m ON m.id = k.master_id JOIN pg_database d ON d.oid = k.database WHERE d.datname = };
foreach my $last ($from .. $to)
{
	my $done = grep { $records[$_][0] == TABLE_KEY } $from .. $last;
	my $name = $last == $to ? 'all' : $done == 0 ? 'the first master key' : "$done of $keys table keys to the first master key";
	$node->write_file($node->keyring_path, keyring_bytes($whole, @records[ 0 .. $last ]));
	chmod 0600, $node->keyring_path;
	$node->start;
	$node->sql_is('SELECT ' . join(' + ', map { "(SELECT count(DISTINCT m) FROM t$_)" } 1 .. TABLES), 50 * TABLES, "$name: every table can be read");
	$node->sql_is($unfinished, $last == $to ? '' : "unfinished|postgres|$done|$keys|t", '... and the server says that it has not ended, and what to type');
	my $logged = $node->log_size;
	if ($last % 2 == 0 && $last < $to)
	{
		$node->safe_psql('postgres', q{ALTER DATABASE postgres ROTATE MASTER KEY});
	}
	else
	{
		$node->safe_psql('postgres', q{ALTER SYSTEM SET max_worker_processes = 8});
		$node->restart;
		$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress}) or die 'it does not go on';
		like(slurp_file($node->logfile, $logged), qr/LOG:  master key of database "postgres" is "own" now/, '... and goes on by itself') if $last < $to;
		$node->safe_psql('postgres', q{ALTER SYSTEM RESET max_worker_processes});
	}
	$node->stop('immediate');
	$node->start;
	$node->sql_is("${wrapped}'postgres'", 'own', '... and has ended, also after a crash');
	$node->sql_is("${wrapped}'other'", 'test_key', '... without the keys of another database');
	$node->sql_is(q{SELECT count(*) FROM tde_vault.encryption_progress}, 0, '... and is not begun again');
	$node->sql_is(q{SELECT string_agg(key_id || ' ' || state, ', ' ORDER BY created) FROM tde_vault.master_keys()}, 'test_key active, own active', '... both master keys are in use');
	$node->sql_is('SELECT count(DISTINCT m) FROM t1', 50, '... and can be read');
	$node->stop;
}

# One that was made by hand, for what is new: nothing was to be taken over.
$node->write_file($node->keyring_path, keyring_bytes($whole, @records[ 0 .. $from - 1 ]));
chmod 0600, $node->keyring_path;
$node->start;
$node->create_master_key('postgres', 'by_hand');
$node->safe_psql('postgres', q{ALTER SYSTEM SET max_worker_processes = 8});
$node->restart;
$node->sql_is($unfinished, '', 'a master key that was made for what is new has nothing to take over');
$node->sql_is("${wrapped}'postgres'", 'test_key', '... and is left to that, by the server');
$node->stop;
done_testing();
