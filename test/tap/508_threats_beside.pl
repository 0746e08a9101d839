# What a realm has beside its rows: sequences, large objects; and maintenance
# of whole schemas and databases by somebody who may not use all of it.  Rows
# 11 and 25 of the list of threats, and more.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE EXTENSION lo;
CREATE EXTENSION pageinspect;
CREATE ROLE visitor LOGIN;
CREATE ROLE team;
CREATE ROLE bob LOGIN IN ROLE team;
GRANT CREATE ON SCHEMA public TO owner, alice;
CREATE FUNCTION public.i(regclass) RETURNS bigint LANGUAGE internal AS 'nextval_oid';
CREATE FUNCTION public.g(oid) RETURNS bytea LANGUAGE internal AS 'be_lo_get';
SET ROLE owner;
CREATE TABLE secret.serial (id serial PRIMARY KEY, v text) USING tde_heap;
INSERT INTO secret.serial (v) SELECT 'qmarker7kx2vw9' FROM generate_series(1, 30);
CREATE TABLE public.ordinary (id serial PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
INSERT INTO public.ordinary (v) SELECT g FROM generate_series(1, 50) g;
ALTER TABLE secret.small CLUSTER ON small_pkey;
ALTER TABLE public.ordinary CLUSTER ON ordinary_pkey;
RESET ROLE;
GRANT ALL ON public.ordinary, public.ordinary_id_seq TO PUBLIC;
GRANT ALL ON secret.serial, secret.serial_id_seq, secret.patients_id_seq TO alice, mallory;
SET ROLE alice;
SELECT lo_from_bytea(7001, 'qmarker7kx2vw9 of alice');
GRANT ALL ON LARGE OBJECT 7001 TO PUBLIC;
RESET ROLE;
SET ROLE bob;
SELECT lo_from_bytea(7002, 'qmarker7kx2vw9 of bob');
RESET ROLE;
SET ROLE visitor;
SELECT lo_from_bytea(7003, 'of a visitor');
RESET ROLE;
SQL
run_as('security', q{CALL tde_vault.realm_add('pii', ARRAY['secret.serial']); CALL tde_vault.realm_authorize('pii', ARRAY['team']); CALL tde_vault.grant_vault_password('pii', 'team', 'team password');});

# --- sequences ---
attack_each("sequence: $_", "SELECT $_;")
  foreach (
	q{nextval('secret.serial_id_seq')}, q{nextval('secret.patients_id_seq'::regclass)},
	q{setval('secret.serial_id_seq', 1)}, q{setval('secret.serial_id_seq', 1, false)},
	q{setval('secret.patients_id_seq', 9000)}, q{last_value FROM secret.serial_id_seq}, q{(SELECT nextval('secret.serial_id_seq'))});
attack_each("sequence: $_->[0]", $_->[1])
  foreach (
	[ 'as a default', q{CREATE TABLE public.borrows (id int DEFAULT nextval('secret.serial_id_seq'), v int); INSERT INTO public.borrows (v) VALUES (1) RETURNING id;} ],
	[ 'in DO', q{DO $$BEGIN PERFORM nextval('secret.serial_id_seq'); END$$;} ],
	[ 'in a function', q{CREATE FUNCTION public.n() RETURNS bigint LANGUAGE sql AS $$SELECT nextval('secret.serial_id_seq')$$; SELECT public.n();} ],
	[ 'by an internal function', q{SELECT public.i('secret.serial_id_seq');} ]);
attack_each('sequence: by a new internal function', q{CREATE FUNCTION public.i2(regclass) RETURNS bigint LANGUAGE internal AS 'nextval_oid'; SELECT public.i2('secret.serial_id_seq');}, REFUSED);
foreach my $who (qw(mallory owner alice))
{
	like(run_as($who, q{SELECT last_value IS NULL FROM pg_sequences WHERE schemaname = 'secret'; SELECT pg_sequence_last_value('secret.serial_id_seq') IS NULL;}),
		qr/\At\nt\nt\n\z/, "$who learns no number from pg_sequences");
	like(run_as($who, q{SELECT nextval('public.ordinary_id_seq') > 50; SELECT last_value > 50 FROM pg_sequences WHERE sequencename = 'ordinary_id_seq';}),
		qr/\At\nt\n\z/, "and all of others: $who");
}
control('sequence', q{SELECT nextval('secret.serial_id_seq'), setval('secret.serial_id_seq', 100), currval('secret.serial_id_seq'), last_value FROM pg_sequences WHERE sequencename = 'serial_id_seq'; INSERT INTO secret.serial (v) VALUES ('x') RETURNING id; INSERT INTO secret.patients (name) VALUES ('n'); DELETE FROM secret.patients WHERE name = 'n';},
	qr/^31\|100\|100\|\d+\n101\nINSERT 0 1/m);
run_as('security', q{CALL tde_vault.create_command_rule(name => 'no_select', actions => ARRAY['SELECT'], on_table => 'secret.serial');});

# --- maintenance of more than one table ---
sub node_of { return $node->safe_psql('postgres', "SELECT pg_relation_filenode('$_[0]')") }
my $skipping = qr/WARNING:\s+\w+: skipping secret\.small: it is in a realm that this session may not use/;
foreach my $statement ('REINDEX DATABASE postgres', 'REINDEX (CONCURRENTLY) DATABASE postgres', 'REINDEX SCHEMA secret', 'VACUUM FULL',
	'VACUUM (FULL, ANALYZE)', 'CLUSTER')
{
	my $kind = $statement =~ /SCHEMA/ ? 'secret' : 'public';
	my $table = $statement =~ /REINDEX/ ? 'ordinary_pkey' : 'ordinary';
	my ($ordinary, $small, $index) = (node_of("public.$table"), node_of('secret.small'), node_of('secret.small_pkey'));
	my $out = attack($statement, 'mallory', "$statement;", qr/^(?!.*ERROR).*$skipping/s);
	isnt(node_of("public.$table"), $ordinary, "$statement: what is in no realm is done") if $kind eq 'public';
	is(node_of('secret.small') . node_of('secret.small_pkey'), "$small$index", "$statement: the realm is not");
	is(scalar(() = $out =~ /skipping secret\.small:/g), 1, "$statement: one warning a table");
}
like(run_as('mallory', 'REINDEX SYSTEM postgres; VACUUM; ANALYZE; VACUUM (FULL false); REINDEX SCHEMA public;'), qr/^(?!.*(?:ERROR|skipping))/s, 'nothing is skipped where nothing need be');
like(run_as('mallory', 'VACUUM (FULL, FULL false) secret.small;'), qr/^VACUUM$/m, 'an option given twice');
attack('VACUUM FULL after all', 'mallory', 'VACUUM (FULL false, FULL) secret.small;', REFUSED);
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM pg_class WHERE relname IN ('small', 'patients', 'log_1', 'serial') AND relnamespace = 'secret'::regnamespace}),
	4, 'pg_class has its indexes whole');
is($node->safe_psql('postgres', q{SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off; SELECT count(*) FROM pg_class}),
	$node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT oid FROM pg_class ORDER BY oid) x}), 'all of them');
my $before = node_of('secret.small_pkey');
$node->safe_psql('postgres', 'GRANT owner TO alice; ALTER SCHEMA secret OWNER TO alice');
unlike(run_as('alice', UNLOCK . 'REINDEX SCHEMA secret;'), qr/ERROR|skipping/, 'control: who is authorized skips nothing');
isnt(node_of('secret.small_pkey'), $before, 'and it is done');
like(run_as('alice', 'REINDEX SCHEMA secret;'), $skipping, 'locked, it is skipped');

# --- 25: large objects ---
attack_each("25: $_", "SELECT $_;")
  foreach (
	q{encode(lo_get(7001), 'escape')}, q{encode(lo_get(7001, 0, 8), 'escape')}, q{encode(loread(lo_open(7001, 262144), 100), 'escape')},
	q{lo_put(7001, 0, 'x')}, q{lowrite(lo_open(7001, 131072), 'x')}, q{lo_truncate(lo_open(7001, 131072), 0)}, q{lo_unlink(7001)},
	q{encode(lo_get(7002), 'escape')}, q{lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = 7002});
attack_each("25: $_", "$_;")
  foreach (
	'SELECT data FROM pg_largeobject', 'SELECT * FROM pg_largeobject', 'SELECT l FROM pg_largeobject l', 'COPY pg_largeobject TO STDOUT',
	'SELECT 1 FROM pg_largeobject WHERE data > \'a\'', 'EXPLAIN SELECT 1 FROM pg_largeobject WHERE data = \'a\'',
	'REASSIGN OWNED BY alice TO mallory', '\\lo_export 7001 /dev/null', '\\lo_unlink 7001', q{SELECT lo_get(7001) FROM public.plain},
	q{SELECT encode(public.g(7001), 'escape')});
attack('25: OWNER by the owner, locked', 'alice', 'ALTER LARGE OBJECT 7001 OWNER TO owner;', REFUSED);
attack_each("25: $_", "$_;", REFUSED, superuser => 1)
  foreach ('ALTER LARGE OBJECT 7001 OWNER TO mallory', 'ALTER LARGE OBJECT 7001 OWNER TO visitor', q{DO $$BEGIN ALTER LARGE OBJECT 7001 OWNER TO mallory; END$$});
attack('25: pages', 'mallory', q{SELECT get_raw_page('pg_largeobject', 0);}, REFUSED);
like(run_as('mallory', q{ANALYZE pg_largeobject; SELECT count(*) FROM pg_stats WHERE tablename = 'pg_largeobject';}), qr/^0$/m, '25: its statistics');
foreach my $who (qw(mallory visitor))
{
	like(run_as($who, q{SELECT encode(lo_get(7003), 'escape');}), qr/of a visitor/, "25: other people's: $who");
}
like(run_as('mallory', 'SELECT count(*) FROM pg_largeobject_metadata; SELECT count(DISTINCT loid) FROM pg_largeobject;'), qr/\A3\n3\n\z/, '25: which there are');
like(run_as('mallory', q{SELECT lo_put(7003, 0, 'x'); ALTER LARGE OBJECT 7003 OWNER TO mallory; SELECT lo_unlink(7003);}), qr/^(?!.*ERROR)/s, '25: are the superuser\'s');
like(run_as('mallory', q{SELECT lo_from_bytea(7004, 'mine'); SELECT encode(lo_get(7004), 'escape');}), qr/^mine$/m, '25: and so are new ones');
control('25: read', q{SELECT encode(lo_get(7001), 'escape'), encode(loread(lo_open(7001, 262144), 7), 'escape');}, qr/qmarker7kx2vw9 of alice\|qmarker/);
my $opened = run_as('alice', UNLOCK . q{BEGIN; SELECT lo_open(7001, 262144) = 0; SELECT length(loread(0, 3)); CALL tde_vault.lock_realm('pii'); SELECT encode(loread(0, 100), 'escape'); COMMIT;});
like($opened, qr/^t\n3\nCALL\n.*vault password required/m, '25: opened before the realm was locked');
unlike($opened, qr/marker/, '25: and not read any more');
like(run_as('bob', q{CALL tde_vault.unlock_realm('pii', 'team password'); SELECT encode(lo_get(7002), 'escape'); SELECT lo_put(7001, 0, 'Q');}),
	qr/qmarker7kx2vw9 of bob/, '25: of a member of an authorized role');
control('25: written', q{SELECT lo_put(7001, 0, 'q'); SELECT lo_unlink(lo_from_bytea(0, 'x')); SELECT encode(lo_get(7001), 'escape');}, qr/^1\nqmarker/m);

is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_largeobject_metadata WHERE oid IN (7001, 7002)'), '2', 'nothing is gone');
$node->stop;
done_testing();
