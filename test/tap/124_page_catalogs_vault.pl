# Sealed catalogs in a database with a vault, and their keys rotated for their age.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\n");
my $plain = q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND reason <> 'system catalog, shared by all databases'};
$node->safe_psql('postgres', $_) foreach 'CREATE TABLE t (i int) USING tde_heap', 'INSERT INTO t VALUES (1)', 'CREATE ROLE officer LOGIN',
	'ALTER DATABASE ENABLE DATABASE VAULT', 'GRANT VAULT_ADMIN TO officer';
$node->safe_psql('postgres', $_, extra_params => [ '-U', 'officer' ]) foreach 'CREATE REALM r OWNER officer', 'ALTER REALM r ADD TABLE t';

# --- a vault -------------------------------------------------------------------

foreach my $sealed ('seal', 'unseal', 'seal')
{
	$node->safe_psql('postgres', "CALL tde_vault.${sealed}_catalogs()");
	$node->sql_fails('SELECT * FROM t', 'TV031', qr/r/, "$sealed: a realm binds");
}
$node->sql_is($plain, '0', 'sealed');
$node->sql_is(q{SELECT tde_vault.is_encrypted('pg_statistic')}, 't', 'statistics, too');

# --- age -----------------------------------------------------------------------

$node->stop('fast');
age_table_keys($node, 40);
$node->append_conf('postgresql.conf', "tde_vault.key_rotation_days = 30\n");
$node->start;
my $version = q{SELECT string_agg(DISTINCT version::text, ',') FROM tde_vault.table_keys() WHERE "table" IN ('pg_class'::regclass, 'pg_statistic'::regclass) AND version > 1};
ok($node->poll_query_until('postgres', $version, '2'), 'an old key is rotated by itself');
ok($node->poll_query_until('postgres', q{SELECT count(*) > 1 AND bool_and(state = 'done') FROM tde_vault.encryption_progress WHERE relation IN ('pg_class'::regclass, 'pg_statistic'::regclass)}), 'to the end');
$node->sql_is($plain, '0', 'nothing became plain');
$node->verify_ok('every page', min => 55);
$node->safe_psql('postgres', 'CREATE TABLE more (i int)');
$node->crash;
$node->sql_is('SELECT count(*) FROM more', '0', 'after a crash');

done_testing();
