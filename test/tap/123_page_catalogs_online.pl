# Sealed catalogs on a standby and after its promotion, in logical decoding,
# with keys that are rotated in use, with a table that cannot be locked, and
# with work in the background while their key is away.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = TdeVault->create('primary', streaming => 1, conf => <<'CONF');
wal_level = logical
tde_vault.worker_cost_delay = 0
wal_keep_size = 0
CONF
$primary->create_database($_) foreach 'd', 'e';
my $plain = q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND reason <> 'system catalog, shared by all databases'};
my ($early, $late) = (TdeVault::marker('early'), TdeVault::marker('late'));
$primary->safe_psql('d', 'CALL tde_vault.seal_catalogs()');
$primary->safe_psql('d', "CREATE FUNCTION early() RETURNS text LANGUAGE sql AS \$\$SELECT '$early'\$\$; CREATE TABLE enc (i int PRIMARY KEY, t text) USING tde_heap; INSERT INTO enc SELECT g, g FROM generate_series(1, 500) g");
$primary->backup('b');
my $standby = TdeVault->create_from_backup('standby', $primary, 'b', has_streaming => 1);
$standby->start;

# --- a standby, and logical decoding across it ---------------------------------

$primary->safe_psql('e', q{SELECT pg_create_logical_replication_slot('s', 'test_decoding')});
$primary->safe_psql('e', $_) foreach 'CREATE TABLE r (i int, t text)', q{INSERT INTO r VALUES (1, 'before')}, 'CALL tde_vault.seal_catalogs()', q{INSERT INTO r VALUES (2, 'sealed')},
	q{ALTER TABLE r ADD COLUMN n int DEFAULT 7}, 'VACUUM FULL pg_class', q{INSERT INTO r VALUES (3, 'rewritten')}, 'VACUUM FULL pg_attribute';
$primary->safe_psql('e', "CREATE FUNCTION late() RETURNS text LANGUAGE sql AS \$\$SELECT '$late'\$\$");
$primary->sql_is(q{SELECT string_agg(substring(data FROM 'INSERT: .*'), '; ') FROM pg_logical_slot_get_changes('s', NULL, NULL)},
	q{INSERT: i[integer]:1 t[text]:'before'; INSERT: i[integer]:2 t[text]:'sealed'; INSERT: i[integer]:3 t[text]:'rewritten' n[integer]:7},
	'logical decoding from before, over it, and after', db => 'e');
$primary->safe_psql('e', q{SELECT pg_drop_replication_slot('s')});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->sql_is('SELECT early()', $early, 'a standby made from sealed catalogs', db => 'd');
$standby->sql_is('SELECT late(), (SELECT count(*) FROM r)', "$late|3", 'and one on which they became so', db => 'e');
$standby->sql_is($plain, '0', 'they are sealed there, too', db => 'e');
$standby->safe_psql('postgres', 'CHECKPOINT');
my $found = $standby->find_markers({ early => $early, late => $late });
is(join(' ', map { @$_ } values %$found), '', 'in no file of it');

# --- the key is away on the standby --------------------------------------------

# (from a restart point on which no sealed log follows; else it would wait, and not start)
$primary->safe_psql('postgres', 'CHECKPOINT');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop;
$standby->hide_token;
$standby->start;
$standby->sql_is('SELECT pg_is_in_recovery()', 't', 'it starts while the key is away');
$standby->sql_fails('SELECT early()', 'TV00[1-3]|\?{5}', qr/The system catalogs of database \d+ are encrypted/, 'that database cannot be used', db => 'd');
$standby->restore_token;
$primary->safe_psql('d', 'CREATE TABLE more (i int); INSERT INTO more VALUES (5)');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->sql_is('SELECT early(), i FROM more', "$early|5", 'and can when it is back', db => 'd');

# --- rotation, in use ------------------------------------------------------------

$primary->sql_fails('ALTER TABLE pg_proc ENABLE ENCRYPTION', '42501', [ qr/is a system catalog/, qr/seal_catalogs/ ], 'no other statement is for catalogs', db => 'd');
$primary->safe_psql('d', 'ALTER TABLE pg_catalog.pg_class ROTATE ENCRYPTION KEY; CREATE TABLE at_once (i int)');
$primary->safe_psql('d', "CREATE TABLE in_use_$_ (i serial PRIMARY KEY); DROP TABLE in_use_$_; VACUUM pg_attribute") foreach 1 .. 5;
my $done = q{SELECT count(*) > 0 AND bool_and(state = 'done') FROM tde_vault.encryption_progress WHERE database = 'd'};
ok($primary->poll_query_until('d', $done), 'a rotation comes to its end');
$primary->safe_psql('d', 'CHECKPOINT');
$primary->sql_is($plain, '0', 'they are still sealed', db => 'd');
$primary->verify_ok('every page', db => 'd', min => 50);
my $versions = q{SELECT string_agg(version::text, ',') FROM tde_vault.table_keys() WHERE "table" = 'pg_class'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = 'd')};
ok($primary->poll_query_until('d', $versions, '2'), 'and the old version goes');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$standby->sql_is('SELECT early(), (SELECT count(*) FROM at_once)', "$early|0", 'the standby follows', db => 'd');
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->verify_ok('every page there', db => 'd', min => 50);

# --- what cannot be locked ---------------------------------------------------------

$primary->create_database('busy');
my $session = $primary->background_psql('busy', on_error_stop => 0);
$session->query_safe('BEGIN; LOCK TABLE pg_catalog.pg_ts_dict IN ACCESS SHARE MODE');
$primary->sql_fails(q{SET lock_timeout = '100ms'; CALL tde_vault.seal_catalogs()}, '55P03', qr/CONTEXT:  sealing catalog "pg_ts_dict", after \d+ of 57; called again, it goes on from there/, 'a catalog that somebody holds', db => 'busy');
$primary->sql_is("SELECT ($plain) BETWEEN 1 AND 100, tde_vault.is_encrypted('pg_class'), tde_vault.is_encrypted('pg_ts_dict')", 't|t|f', 'those before it are sealed', db => 'busy');
$session->query_safe('COMMIT');
$session->quit;
$primary->safe_psql('busy', 'CALL tde_vault.seal_catalogs()');
$primary->sql_is($plain, '0', 'the next call goes on', db => 'busy');

# --- work in the background while the key is away ------------------------------------

$primary->safe_psql('postgres', q{ALTER SYSTEM SET tde_vault.max_workers = 0});
$primary->safe_psql('postgres', 'SELECT pg_reload_conf()');
$primary->safe_psql('d', 'ALTER TABLE enc ROTATE ENCRYPTION KEY');
$primary->stop;
$primary->hide_token;
$primary->append_conf('postgresql.auto.conf', "tde_vault.max_workers = 2\n");
$primary->start;
ok($primary->poll_query_until('postgres', q{SELECT bool_or(state ~ '^error' AND detail ~ 'could not connect to the database') FROM tde_vault.encryption_progress WHERE database = 'd'}), 'a worker that does not get in says so, and waits');
$primary->restore_token;
ok($primary->poll_query_until('d', $done), 'and goes on when the key is back');
$primary->sql_is('SELECT count(*), early() FROM enc', "500|$early", 'all is there', db => 'd');

# --- promotion -----------------------------------------------------------------------

$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
$standby->safe_psql('d', $_) foreach 'CREATE TABLE after (i int)', 'VACUUM FULL pg_class', 'VACUUM FULL pg_proc', 'REINDEX SYSTEM d';
$standby->sql_is('SELECT early(), (SELECT count(*) FROM after), (SELECT count(*) FROM enc)', "$early|0|500", 'promoted', db => 'd');
$standby->sql_is($plain, '0', 'still sealed', db => 'd');
$standby->verify_ok('every page', db => 'd', min => 50);
$standby->crash;
$standby->sql_is('SELECT early(), (SELECT count(*) FROM after)', "$early|0", 'after a crash', db => 'd');
$standby->safe_psql('d', 'CALL tde_vault.unseal_catalogs()');
$standby->sql_is('SELECT early(), (SELECT count(*) FROM after)', "$early|0", 'unsealed there', db => 'd');
unlike(slurp_file($_->logfile), qr/PANIC|authentication tag|was forged/, 'nothing amiss in the log of ' . $_->name) foreach ($primary, $standby);

done_testing();
