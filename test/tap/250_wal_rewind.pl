# pg_rewind of an old primary: works for tables encrypted with XTS, and is
# refused at start, before anything is read, for tables with a sidecar.  System
# catalogs are sealed as well.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

sub rewind
{
	my ($cipher) = @_;
	(my $name = $cipher) =~ s/-/_/g;
	my $old = TdeVault->create("old_$name", streaming => 1, conf => <<"CONF");
default_table_access_method = tde_heap
tde_vault.cipher = '$cipher'
wal_keep_size = 512MB
CONF
	$old->safe_psql('postgres', q{CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 20000) g; CREATE INDEX ON t (v); CHECKPOINT});
	$old->safe_psql('postgres', 'CALL tde_vault.seal_catalogs()');
	$old->backup('b');
	my $new = TdeVault->create_from_backup("new_$name", $old, 'b', has_streaming => 1);
	$new->start;
	$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));
	$new->promote;

	# They part: each goes on by itself.
	$old->safe_psql('postgres', q{UPDATE t SET v = 'lost' WHERE id % 500 = 0; CREATE TABLE lost AS SELECT g FROM generate_series(1, 1000) g; VACUUM FULL pg_class; CHECKPOINT});
	$new->safe_psql('postgres', q{UPDATE t SET v = 'kept' WHERE id % 700 = 0; CREATE TABLE kept AS SELECT g FROM generate_series(1, 1000) g; CHECKPOINT; VACUUM FULL pg_attribute; UPDATE t SET v = 'kept twice' WHERE id % 900 = 0});
	$old->stop('fast');
	my $conf = PostgreSQL::Test::Utils::slurp_file($old->data_dir . '/postgresql.conf');
	$new->command_ok([ 'pg_rewind', '--target-pgdata', $old->data_dir, '--source-server', $new->connstr('postgres'), '--no-sync' ],
		"$cipher: pg_rewind runs");
	$old->write_file($old->data_dir . '/postgresql.conf', $conf);
	$old->enable_streaming($new);
	return ($old, $new);
}

my ($old, $new) = rewind('aes-256-xts');
$old->start;
$new->safe_psql('postgres', q{INSERT INTO t VALUES (-1, 'after')});
$new->wait_for_catchup($old, 'replay', $new->lsn('insert'));
my $digest = q{SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)), (SELECT count(*) FROM kept), to_regclass('lost') FROM t};
$old->sql_is($digest, $new->safe_psql('postgres', $digest), 'xts: the rewound server holds what the new primary holds');
$old->sql_is(q{SET enable_seqscan = off; SELECT count(*) FROM t WHERE v LIKE 'row 1%'}, $new->safe_psql('postgres', q{SELECT count(*) FROM t WHERE v LIKE 'row 1%'}), 'xts: its indexes, too');
$old->verify_ok('xts: verify is clean', min => 55);
$old->promote;
$old->safe_psql('postgres', q{INSERT INTO kept SELECT g FROM generate_series(1, 10) g});
$old->crash;
$old->sql_is('SELECT count(*) FROM kept', '1010', 'xts: it can be primary again');
$old->stop;
$new->stop;

($old, $new) = rewind('aes-256-gcm');
my $log = $old->start_expecting_failure;
like($log // '', qr/FATAL:  pg_rewind cannot be used for tables that are encrypted with aes-256-gcm/, 'gcm: refused at start');
like($log // '', qr/HINT:  Make this server anew from a base backup/, 'gcm: with what to do');
$new->verify_ok('gcm: the new primary is whole');

done_testing();
