# A rotation of a master key that was cut off after each of its records, one
# after the other: every table can be read, the server says that it is not
# finished and what to type, and goes on by itself as soon as it can.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TABLES => 3;

my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
max_worker_processes = 2
CONF
$node->safe_psql('postgres', join '', map { "CREATE TABLE t$_ AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g;\n" } 1 .. TABLES);
$node->stop;
my $before = () = keyring_records(slurp_file($node->keyring_path));
$node->start;
$node->safe_psql('postgres', "ALTER DATABASE ROTATE MASTER KEY KEY_ID 'second'");
$node->stop;
my $whole = slurp_file($node->keyring_path);
my @records = keyring_records($whole);
my ($from) = grep { $records[$_][0] == MASTER_KEY } $before - 1 .. $#records;
my ($to) = grep { $records[$_][0] == MASTER_KEY_RETIRED } $from .. $#records;
# those of the tables, and of the planner's statistics and of the audit log
my $keys = grep { $records[$_][0] == TABLE_KEY } $from .. $to;
cmp_ok($to - $from - 1, '>=', $keys, 'a rotation is a master key, a record for each table key, and a retirement');
cmp_ok($keys, '>=', TABLES, '... of all tables');

sub all_readable
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->sql_is('SELECT ' . join(' + ', map { "(SELECT count(DISTINCT m) FROM t$_)" } 1 .. TABLES), 50 * TABLES, "$name: every table can be read");
	return;
}

my $states = q{SELECT string_agg(key_id || ' ' || state || ' ' || keys, ', ' ORDER BY created) FROM tde_vault.master_keys()};
foreach my $last ($from .. $to)
{
	my $done = grep { $records[$_][0] == TABLE_KEY } $from .. $last;
	my $name = $last == $to ? 'all' : $done == 0 ? 'the new master key' : "$done of $keys table keys";
	$node->write_file($node->keyring_path, keyring_bytes($whole, @records[ 0 .. $last ]));
	chmod 0600, $node->keyring_path;
	# nobody can be started to go on
	$node->start;
	all_readable($name);
	my $left = $keys - $done;
	$node->sql_is($states, $last == $to ? 'test_key retired 0, second active ' . $keys : "test_key rotating $left, second active $done", '... and is wrapped by one or the other');
	$node->sql_is(q{SELECT state, pages_done, pages_total, detail ~ 'ALTER DATABASE postgres ROTATE MASTER KEY$' FROM tde_vault.encryption_progress},
		$last == $to ? '' : "unfinished|$done|$keys|t", '... which the server says, and what to type');
	like(slurp_file($node->logfile), qr/a rotation of a master key has not ended, and no process can be started/, '... also in its log') if $last == $from;
	my $logged = $node->log_size;
	if ($last % 2)
	{
		$node->safe_psql('postgres', q{ALTER SYSTEM SET max_worker_processes = 8});
		$node->restart;
		$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM tde_vault.encryption_progress}) or die 'it does not go on';
		like(slurp_file($node->logfile, $logged), qr/LOG:  master key of database "postgres" is "second" now/, '... and goes on by itself') if $last < $to;
		$node->safe_psql('postgres', q{ALTER SYSTEM RESET max_worker_processes});
	}
	elsif ($last < $to)
	{
		$node->safe_psql('postgres', q{ALTER DATABASE postgres ROTATE MASTER KEY});
	}
	$node->sql_is($states, 'test_key retired 0, second active ' . $keys, '... and has ended');
	$node->stop('immediate');
	$node->start;
	all_readable("$name, ended, after a crash");
	$node->stop;
}
done_testing();
