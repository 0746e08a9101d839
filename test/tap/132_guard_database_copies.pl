# Databases that are copied, moved or renamed while others look: what is
# checked is the database that the statement then works on, a copy's sequences
# are bound to the copy's keys, and a copy that is broken off leaves nothing.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;
use Time::HiRes ();

my $node = TdeVault->create('main', conf => "allow_in_place_tablespaces = on\n");
$node->safe_psql('postgres', q{CREATE TABLESPACE ts LOCATION ''});
$node->create_database('sealed');
$node->safe_psql('sealed', <<'SQL');
CREATE TABLE t (id serial PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY, v text) USING tde_heap;
INSERT INTO t (v) SELECT 'row ' || g FROM generate_series(1, 100) g;
CREATE SEQUENCE later OWNED BY t.v;
SQL

# --- the name changes hands while the statement waits -------------------------

# What a statement says that waits for these renames.
sub said_after_renames
{
	my ($sql, @renames) = @_;
	my $renamer = $node->background_psql('postgres');
	$renamer->query_safe('BEGIN');
	$renamer->query_safe("ALTER DATABASE $_") foreach @renames;
	my $waiter = $node->background_psql('postgres', on_error_stop => 0);
	$waiter->query_until(qr/go/, "\\echo go\n$sql;\n\\echo done\n");
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'object'})
	  or die 'nobody waits';
	$renamer->query_safe('COMMIT');
	$renamer->quit;
	$waiter->query_until(qr/done/, '');
	my $said = $waiter->{stderr};
	$waiter->quit;
	return $said;
}

foreach my $case (
	[ 'ALTER DATABASE SET TABLESPACE', 'ALTER DATABASE harmless SET TABLESPACE ts', qr/cannot be moved to another tablespace: it holds encrypted tables/ ],
	[ 'CREATE DATABASE file_copy', 'CREATE DATABASE copy TEMPLATE harmless STRATEGY file_copy', qr/strategy file_copy cannot copy database "harmless": it holds encrypted tables/ ])
{
	my ($name, $sql, $message) = @$case;
	$node->safe_psql('postgres', 'CREATE DATABASE harmless TEMPLATE template0');
	like(said_after_renames($sql, 'harmless RENAME TO away', 'sealed RENAME TO harmless'),
		$message, "$name: refused for the database that has the name now");
	$node->safe_psql('postgres', 'ALTER DATABASE harmless RENAME TO sealed');
	$node->safe_psql('postgres', 'DROP DATABASE away');
	$node->restart;
	$node->sql_is(q{SELECT count(*), (SELECT dattablespace::regclass IS NOT NULL FROM pg_database WHERE datname = 'sealed') FROM t},
		'100|t', "$name: its tables are untouched", db => 'sealed');
	$node->sql_is(q{SELECT count(*) FROM pg_database WHERE datname IN ('copy', 'away', 'harmless')}, '0', "$name: no other database is left");
}

# The other way round: a name that a database without encrypted tables has by
# now is no reason to refuse.
$node->safe_psql('postgres', 'CREATE DATABASE harmless TEMPLATE template0');
is(said_after_renames('ALTER DATABASE sealed SET TABLESPACE ts', 'sealed RENAME TO away', 'harmless RENAME TO sealed'),
	'', 'a plain database that got the name is moved');
$node->sql_is(q{SELECT d.datname, t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE datname IN ('sealed', 'away') ORDER BY 1},
	"away|pg_default\nsealed|ts", 'that one, and not the one that had it');
$node->safe_psql('postgres', 'DROP DATABASE sealed');
$node->safe_psql('postgres', 'ALTER DATABASE away RENAME TO sealed');

# --- sequences of a copy -------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE sealed');
my $sequences = q{SELECT count(*), bool_and(tde_vault.is_encrypted(oid)) FROM pg_class WHERE relkind = 'S'};
$node->sql_is($sequences, '3|t', 'the sequences of a copy are encrypted', db => 'copy');

# later files of them, and of a copy of the copy, whose original is gone
$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE copy');
$node->safe_psql('postgres', 'DROP DATABASE copy');
foreach my $sql ('TRUNCATE t RESTART IDENTITY', 'ALTER SEQUENCE later RESTART 7', 'ALTER TABLE t ALTER n RESTART')
{
	$node->safe_psql('again', $sql);
	$node->sql_is($sequences, '3|t', "after $sql, too", db => 'again');
}
$node->sql_is(q{INSERT INTO t (v) VALUES ('x') RETURNING id, n; SELECT nextval('later')}, "1|1\n7", 'and count on', db => 'again');
$node->sql_is(q{SELECT count(DISTINCT key_id) FROM tde_vault.encryption_status WHERE relation::oid >= 16384}, '1', 'under the key of the table they belong to', db => 'again');
$node->stop('immediate');
$node->start;
$node->sql_is(q{INSERT INTO t (v) VALUES ('y') RETURNING id, n}, '34|34', 'also after a crash, which skips what was logged ahead', db => 'again');
$node->safe_psql('again', 'TRUNCATE t RESTART IDENTITY');
$node->sql_is($sequences, '3|t', 'after a crash, later files are encrypted', db => 'again');
$node->verify_ok('verify is clean', db => 'again', min => 4);

# --- a copy that is broken off ---------------------------------------------------

$node->safe_psql('sealed', q{SELECT format('CREATE TABLE many_%s (id int PRIMARY KEY, v text) USING tde_heap', g) FROM generate_series(1, 300) g} . ' \gexec');
my $strangers = q{SELECT count(*), coalesce(sum(files), 0) FROM tde_vault.table_keys() WHERE database NOT IN (SELECT oid FROM pg_database)};
my $leftovers = sub {
	my %known = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT oid FROM pg_database');
	return grep { my ($oid) = m{/(\d+)$}; !$known{$oid} } glob($node->data_dir . '/tde_vault/sidecar/*/*');
};
my $files = $node->safe_psql('postgres', $strangers);
like($files, qr/\|0$/, 'databases that were dropped use no keys');
is(join(' ', $leftovers->()), '', 'and have no sidecars');

foreach my $how ('pg_terminate_backend', 'pg_cancel_backend')
{
	my $copier = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $copier->query_safe('SELECT pg_backend_pid()');
	$copier->query_until(qr/go/, "\\echo go\nCREATE DATABASE broken TEMPLATE sealed;\n");
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($leftovers->())
	{
		die 'nothing was copied' if time > $deadline;
		Time::HiRes::usleep(1000);
	}
	kill 'STOP', $pid;
	cmp_ok(scalar($leftovers->()), '>', 0, "$how: it comes while files are copied");
	$node->sql_is(q{SELECT count(*) FROM pg_database WHERE datname = 'broken'}, '0', "$how: before the database is there");
	$node->safe_psql('postgres', "SELECT $how($pid)");
	kill 'CONT', $pid;
	$how eq 'pg_terminate_backend'
	  ? $node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid")
	  : $copier->query_until(qr/done/, "\\echo done\n");
	eval { $copier->quit };
	$node->sql_is(q{SELECT count(*) FROM pg_database WHERE datname = 'broken'}, '0', "$how: no database");
	like($node->safe_psql('postgres', $strangers), qr/\|0$/, "$how: no key is in use for it");
	is(join(' ', $leftovers->()), '', "$how: and no sidecar is left");
}
$node->safe_psql('postgres', 'CREATE DATABASE whole TEMPLATE sealed');
$node->sql_is('SELECT count(*) FROM t', '100', 'the template is as it was', db => 'whole');
$node->verify_ok('and its copy whole', db => 'whole', min => 300);
$node->stop;
done_testing();
