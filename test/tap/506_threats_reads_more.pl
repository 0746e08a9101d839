# Attacks that are in no list: sessions, plans and cursors from before the vault
# was on or the realm locked; functions of the server that open tables
# themselves; what autovacuum does on the way.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => "autovacuum_naptime = 1\nlog_autovacuum_min_duration = 0\n",
	sql => <<'SQL');
SET ROLE owner;
CREATE TABLE secret.brin (id int, v text) USING tde_heap WITH (autovacuum_enabled = off);
INSERT INTO secret.brin SELECT g, 'qmarker7kx2vw9' || g FROM generate_series(1, 2000) g;
CREATE INDEX brin_v ON secret.brin USING brin (v);
CREATE INDEX gin_v ON secret.brin USING gin (to_tsvector('simple', v));
CREATE FUNCTION public.idx(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN upper($1); END$$;
CREATE TABLE secret.busy (id int PRIMARY KEY, v text) USING tde_heap WITH (autovacuum_vacuum_threshold = 10, autovacuum_analyze_threshold = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_scale_factor = 0);
CREATE INDEX ON secret.busy (public.idx(v));
GRANT ALL ON secret.busy TO alice;
CREATE MATERIALIZED VIEW secret.mv USING tde_heap AS SELECT * FROM secret.busy;
CREATE UNIQUE INDEX ON secret.mv (id);
RESET ROLE;
ALTER MATERIALIZED VIEW secret.mv OWNER TO alice;
GRANT CREATE, USAGE ON SCHEMA secret TO alice;
SQL

# --- from before the vault was on ---
run_as('security', 'CALL tde_vault.disable_vault();');
my $old = $node->background_psql('postgres', extra_params => [ '-U', 'mallory' ], on_error_stop => 0);
$old->query_safe('PREPARE rows AS SELECT ssn FROM secret.patients LIMIT 1');
$old->query_safe('PREPARE stats AS SELECT stavalues1 FROM pg_statistic');
$old->query_safe('EXECUTE rows') foreach 1 .. 6;
$old->query_safe('EXECUTE stats') foreach 1 .. 6;
$old->query_safe('BEGIN');
$old->query_safe('DECLARE c CURSOR FOR SELECT ssn FROM secret.patients');
like($old->query_safe('FETCH 1 FROM c'), qr/qmarker/, 'control: before the vault is on');
run_as('security', "CALL tde_vault.enable_vault(); CALL tde_vault.realm_add('pii', ARRAY['secret.brin', 'secret.busy', 'secret.mv']);");
sub says
{
	my ($sql, $expected, $name) = @_;
	my $out = $old->query($sql) // '';
	my $err = $old->{stderr};
	$old->{stderr} = '';
	unlike("$out$err", qr/qmarker/, "$name: no rows");
	like("$out$err", $expected, "$name: refused");
	return;
}
says('FETCH 1 FROM c', qr/not authorized for realm/, 'a cursor of a session from before');
$old->query('ROLLBACK');
$old->{stderr} = '';
says('EXECUTE rows', qr/not authorized for realm/, 'a generic plan from before');
says('EXECUTE stats', qr/planned before the vault was on/, 'a plan of pg_statistic from before');
says('DISCARD PLANS; EXECUTE stats', qr/./, 'made anew');
$old->quit;

# --- functions of the server that open tables ---
attack_each("server: $_", "SELECT $_;", REFUSED)
  foreach (
	q{currtid2('secret.patients', '(0,1)'::tid)},
	q{database_to_xml(true, false, '')}, q{table_to_xml_and_xmlschema('secret.patients', true, false, '')},
	q{pg_get_statisticsobjdef_expressions(1) FROM secret.patients});

# --- what is kept of a query ---
my $out = run_as('alice', UNLOCK . <<'SQL');
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT ssn FROM secret.patients;
FETCH 1 c;
COMMIT;
FETCH 1 c;
CALL tde_vault.lock_realm('pii');
\echo locked
FETCH ALL c;
MOVE ALL c;
SQL
my ($before, $after) = split /^locked$/m, $out;
is(scalar(() = $before =~ /^qmarker/mg), 2, 'control: a cursor WITH HOLD while it is unlocked');
like($after, qr/vault password required/, 'a cursor WITH HOLD, kept until the realm is locked');
unlike($after, qr/qmarker/, 'no rows of it');

# --- the server's own work goes on ---
like(run_as('alice', UNLOCK . q{INSERT INTO secret.busy SELECT g, 'qmarker7kx2vw9' || g FROM generate_series(1, 500) g; UPDATE secret.busy SET v = v; DELETE FROM secret.busy WHERE id > 400; REFRESH MATERIALIZED VIEW secret.mv; REFRESH MATERIALIZED VIEW CONCURRENTLY secret.mv; SELECT count(*) FROM secret.mv;}), qr/^400$/m, 'control: materialised view of the realm');
attack_each('materialised view', 'SELECT * FROM secret.mv;');
attack_each('refresh', 'REFRESH MATERIALIZED VIEW secret.mv;');
my $log_from = -s $node->logfile;
$node->safe_psql('postgres', 'ALTER SYSTEM SET autovacuum = on');
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT autovacuum_count > 0 AND autoanalyze_count > 0 FROM pg_stat_user_tables WHERE relid = 'secret.busy'::regclass}), 'autovacuum and its ANALYZE work on a realm table with a function in an index');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from);
unlike($log, qr/ERROR.*(?:realm|vault)/, 'without errors');
unlike($log, qr/qmarker/i, 'and tell nothing');
attack('what autovacuum analysed', 'mallory', "SELECT 'asked'; SELECT * FROM pg_stats WHERE tablename = 'busy';", qr/\Aasked\s*\z/);
like(run_as('mallory', $_), qr/^(?!.*ERROR)/s, "monitoring: $_")
  foreach ('SELECT * FROM pg_stat_user_tables;', 'SELECT * FROM pg_stat_activity;', 'SELECT pg_total_relation_size(\'secret.patients\');',
	'SELECT * FROM pg_locks;', 'SELECT * FROM pg_stat_all_indexes;', 'SELECT reltuples FROM pg_class;', 'VACUUM; ANALYZE;', 'CHECKPOINT;',
	'\d secret.patients', '\dt+ secret.*');

unlike(run_as('mallory', q{SELECT format('VACUUM FULL %s', oid::regclass) FROM pg_class WHERE relkind = 'r' AND relnamespace IN ('tde_vault'::regnamespace, 'public'::regnamespace) \gexec}), qr/ERROR/, 'VACUUM FULL of what is in no realm');
attack('a table in the schema of the vault', 'mallory', 'CREATE TABLE tde_vault.planted (i int);', REFUSED);
attack('a type in the schema of the vault', 'mallory', 'CREATE TYPE tde_vault.planted AS (i int);', REFUSED);

like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients;'), qr/60\|qmarker/, 'nothing is gone');
$node->stop;
done_testing();
