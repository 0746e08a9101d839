# More of logical decoding and replication of sealed tables: transactions that
# are prepared, origins, column lists and row filters, old rows of REPLICA
# IDENTITY FULL, TRUNCATE, slots over restarts, and slots that lag behind
# rotations of keys and DROP TABLE.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $conf = <<'CONF';
wal_level = logical
max_prepared_transactions = 10
default_table_access_method = tde_heap
logical_decoding_work_mem = 64kB
max_logical_replication_workers = 8
tde_vault.worker_cost_delay = 0
CONF
my $publisher = TdeVault->create('publisher', streaming => 1, conf => $conf);
my $subscriber = TdeVault->create('subscriber', streaming => 1, conf => $conf);
my $connstr = $publisher->connstr . ' dbname=postgres';

# --- publications of parts -------------------------------------------------------

$publisher->safe_psql('postgres', <<'SQL');
CREATE TABLE parts (id int PRIMARY KEY, public text, secret text, region int);
CREATE TABLE fully (id int, v text, n int);
ALTER TABLE fully REPLICA IDENTITY FULL;
CREATE TABLE keyed (id int, code text NOT NULL, v text);
CREATE UNIQUE INDEX keyed_code ON keyed (code);
ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_code;
CREATE TABLE emptied (id serial PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES emptied);
CREATE TABLE measured (day int, v text, PRIMARY KEY (day)) PARTITION BY RANGE (day);
CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM (0) TO (100);
CREATE TABLE measured_2 PARTITION OF measured FOR VALUES FROM (100) TO (200);
INSERT INTO parts SELECT g, 'public ' || g, 'secret ' || g, g % 3 FROM generate_series(1, 1000) g;
INSERT INTO fully SELECT g, 'row ' || g, g FROM generate_series(1, 500) g;
INSERT INTO fully SELECT g, NULL, NULL FROM generate_series(501, 510) g;
INSERT INTO keyed SELECT g, 'code' || g, repeat('v', g) FROM generate_series(1, 500) g;
INSERT INTO emptied (v) SELECT 'x' FROM generate_series(1, 100);
INSERT INTO child SELECT g, g FROM generate_series(1, 50) g;
INSERT INTO measured SELECT g, 'day ' || g FROM generate_series(0, 199) g;
CREATE PUBLICATION columns FOR TABLE parts (id, public, region);
CREATE PUBLICATION rows FOR TABLE fully WHERE (id % 2 = 0 AND v IS NOT NULL), keyed WHERE (code <> 'code7');
CREATE PUBLICATION whole FOR TABLE emptied, child, measured WITH (publish_via_partition_root = true);
SQL
$subscriber->safe_psql('postgres', <<"SQL");
CREATE TABLE parts (id int PRIMARY KEY, public text, secret text DEFAULT 'not sent', region int);
CREATE TABLE fully (id int, v text, n int);
CREATE TABLE keyed (id int, code text PRIMARY KEY, v text);
CREATE TABLE emptied (id int PRIMARY KEY, v text);
CREATE TABLE child (id int PRIMARY KEY, parent int);
CREATE TABLE measured (day int PRIMARY KEY, v text);
CREATE SUBSCRIPTION s_columns CONNECTION '$connstr' PUBLICATION columns WITH (binary = true);
CREATE SUBSCRIPTION s_rows CONNECTION '$connstr' PUBLICATION rows;
CREATE SUBSCRIPTION s_whole CONNECTION '$connstr' PUBLICATION whole WITH (two_phase = true, streaming = on);
SQL
$subscriber->wait_for_subscription_sync($publisher, $_) foreach qw(s_columns s_rows s_whole);

my %same = (
	columns => [ 'SELECT count(*), md5(string_agg(id || public || region, $$,$$ ORDER BY id)) FROM parts' ],
	rows => [ q{SELECT count(*), md5(string_agg(f::text, ',' ORDER BY id, v)) FROM fully f WHERE id % 2 = 0 AND v IS NOT NULL}, 'SELECT count(*), md5(string_agg(f::text, $$,$$ ORDER BY id, v)) FROM fully f' ],
	keyed => [ q{SELECT count(*), md5(string_agg(k::text, ',' ORDER BY code)) FROM keyed k WHERE code <> 'code7'}, 'SELECT count(*), md5(string_agg(k::text, $$,$$ ORDER BY code)) FROM keyed k' ],
	whole => [ 'SELECT (SELECT count(*) || md5(string_agg(e::text, $$,$$ ORDER BY id)) FROM emptied e), (SELECT count(*) FROM child), (SELECT md5(string_agg(m::text, $$,$$ ORDER BY day)) FROM measured m)' ]);
sub same_ok
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$publisher->wait_for_catchup($_) foreach qw(s_columns s_rows s_whole);
	foreach my $what (sort keys %same)
	{
		my ($here, $there) = @{ $same{$what} };
		$subscriber->sql_is($there // $here, $publisher->safe_psql('postgres', $here), "$name: $what");
	}
	return;
}
same_ok('initial copy');
$subscriber->sql_is(q{SELECT string_agg(DISTINCT secret, ',') FROM parts}, 'not sent', 'a column that is not listed is not sent');

$publisher->safe_psql('postgres', $_) foreach (
	q{UPDATE parts SET public = public || '!', secret = 'changed' WHERE id % 10 = 0}, 'DELETE FROM parts WHERE id % 11 = 0',
	q{UPDATE fully SET v = v || '!' WHERE id % 5 = 0}, 'UPDATE fully SET id = id + 1 WHERE id BETWEEN 100 AND 120', 'UPDATE fully SET v = $$now$$ WHERE v IS NULL', 'DELETE FROM fully WHERE id > 495',
	q{UPDATE keyed SET v = 'longer ' || v WHERE id % 3 = 0}, q{UPDATE keyed SET code = 'other' || id WHERE id % 50 = 0}, 'DELETE FROM keyed WHERE id % 13 = 0',
	q{UPDATE measured SET day = day + 100 WHERE day < 0; UPDATE measured SET v = 'moved' WHERE day IN (5, 105)}, 'DELETE FROM measured WHERE day = 99; UPDATE measured SET day = 99 WHERE day = 150',
	'TRUNCATE emptied, child RESTART IDENTITY', q{INSERT INTO emptied (v) SELECT 'again' FROM generate_series(1, 20)}, 'TRUNCATE ONLY child', 'INSERT INTO child VALUES (1, 1)',
	q{BEGIN; INSERT INTO emptied (v) VALUES ('gone'); TRUNCATE emptied CASCADE; INSERT INTO emptied (v) SELECT 'third' FROM generate_series(1, 7); COMMIT});
same_ok('changes');
$publisher->restart;
$publisher->safe_psql('postgres', q{INSERT INTO parts SELECT g, 'after', 'restart', 1 FROM generate_series(2001, 2010) g; INSERT INTO fully VALUES (600, 'after', 1); UPDATE keyed SET v = 'after' WHERE id = 1});
same_ok('after a restart of the publisher');
$subscriber->kill_postmaster;
$publisher->safe_psql('postgres', q{INSERT INTO parts SELECT g, 'after', 'crash', 1 FROM generate_series(3001, 3010) g; TRUNCATE measured; INSERT INTO measured VALUES (1, 'one')});
$subscriber->start;
same_ok('after a crash of the subscriber');
$publisher->crash;
$publisher->safe_psql('postgres', 'DELETE FROM parts WHERE id > 3000; DELETE FROM fully WHERE id = 600');
same_ok('after a crash of the publisher');

# --- prepared transactions -----------------------------------------------------------

$publisher->safe_psql('postgres', q{BEGIN; INSERT INTO emptied (id, v) SELECT g, 'prepared ' || g FROM generate_series(1000, 5000) g; PREPARE TRANSACTION 'large'});
$publisher->safe_psql('postgres', q{BEGIN; INSERT INTO emptied (id, v) VALUES (6000, 'never'); PREPARE TRANSACTION 'undone'});
$publisher->wait_for_catchup('s_whole');
$subscriber->sql_is('SELECT count(*) FROM pg_prepared_xacts', '2', 'what is prepared is prepared on the subscriber');
$subscriber->sql_is('SELECT count(*) FROM emptied WHERE id >= 1000', '0', 'and not seen');
$subscriber->crash;
$publisher->crash;
$publisher->safe_psql('postgres', $_) foreach q{COMMIT PREPARED 'large'}, q{ROLLBACK PREPARED 'undone'};
same_ok('committed and rolled back after crashes of both');
$subscriber->sql_is('SELECT count(*) FILTER (WHERE v LIKE \'prepared%\'), count(*) FILTER (WHERE id = 6000), (SELECT count(*) FROM pg_prepared_xacts) FROM emptied', '4001|0|0', 'with their rows');

# --- origins --------------------------------------------------------------------------

$publisher->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('origins', 'test_decoding')});
$publisher->safe_psql('postgres', q{SELECT pg_replication_origin_create('elsewhere')});
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO keyed VALUES (7001, 'local', 'here');
SELECT pg_replication_origin_session_setup('elsewhere');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/AABBCCDD', '2024-01-01 00:00');
INSERT INTO keyed VALUES (7002, 'remote', 'there');
UPDATE keyed SET v = 'there, too' WHERE id = 7002;
COMMIT;
SELECT pg_replication_origin_session_reset();
SQL
$publisher->sql_is(q{SELECT string_agg(substring(data, 'code\[text\]:''(\w+)'''), ',') FROM pg_logical_slot_peek_changes('origins', NULL, NULL) WHERE data ~ 'keyed'}, 'local,remote,remote', 'records with an origin are decoded');
$publisher->sql_is(q{SELECT string_agg(substring(data, 'code\[text\]:''(\w+)'''), ',') FROM pg_logical_slot_peek_changes('origins', NULL, NULL, 'only-local', '1') WHERE data ~ 'keyed'}, 'local', 'and filtered by it');
$publisher->crash;
$publisher->sql_is(q{SELECT remote_lsn FROM pg_replication_origin_status WHERE external_id = 'elsewhere'}, '0/AABBCCDD', 'the progress of an origin survives a crash');
# What the subscriber applied has the origin of its subscription, also in its sealed tables.
$subscriber->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('passed_on', 'test_decoding')});
$publisher->safe_psql('postgres', q{INSERT INTO parts VALUES (9001, 'passed', 'on', 1)});
same_ok('after records with an origin');
$subscriber->safe_psql('postgres', q{INSERT INTO parts VALUES (9002, 'of its', 'own', 1)});
$subscriber->sql_is(q{SELECT string_agg(substring(data, 'id\[integer\]:(\d+)'), ',') FROM pg_logical_slot_peek_changes('passed_on', NULL, NULL) WHERE data ~ 'parts'}, '9001,9002', 'a subscriber decodes what it applied');
$subscriber->sql_is(q{SELECT string_agg(substring(data, 'id\[integer\]:(\d+)'), ',') FROM pg_logical_slot_peek_changes('passed_on', NULL, NULL, 'only-local', '1') WHERE data ~ 'parts'}, '9002', 'and knows where it came from');
$subscriber->safe_psql('postgres', 'DELETE FROM parts WHERE id = 9002');

# --- a slot that lags --------------------------------------------------------------------

# While it does: keys of tables get new versions, the master key is rotated, the
# tables are dropped, and checkpoints pass.
# (The subscriptions would hold back what a slot needs, too.)
$subscriber->safe_psql('postgres', "DROP SUBSCRIPTION $_") foreach qw(s_columns s_rows s_whole);
$publisher->safe_psql('postgres', q{SELECT pg_drop_replication_slot('origins'); SELECT pg_create_logical_replication_slot('lagging', 'test_decoding')});
$publisher->safe_psql('postgres', $_) foreach (
	q{CREATE TABLE one (id int PRIMARY KEY, v text); ALTER TABLE one ALTER v SET STORAGE EXTERNAL},
	q{INSERT INTO one VALUES (1, 'first'), (2, repeat('wide', 3000))}, 'ALTER TABLE one ROTATE ENCRYPTION KEY');
my $done = q{SELECT coalesce(bool_and(state = 'done'), true) FROM tde_vault.encryption_progress};
$publisher->poll_query_until('postgres', $done) or die 'not rotated';
$publisher->safe_psql('postgres', $_) foreach (
	q{INSERT INTO one VALUES (3, 'second'); CHECKPOINT}, q{ALTER TABLE one ENABLE ENCRYPTION USING 'CHACHA20-POLY1305'}, q{UPDATE one SET v = 'third' WHERE id = 1});
$publisher->poll_query_until('postgres', $done) or die 'not rotated';
$publisher->safe_psql('postgres', $_) foreach (
	'CALL tde_vault.rotate_master_key()', q{CREATE TABLE two (id int PRIMARY KEY, v text) ENCRYPTION USING 'AES-256-XTS'}, q{INSERT INTO two VALUES (1, 'xts')},
	q{CREATE TABLE three (id int PRIMARY KEY, v text) ENCRYPTION USING 'AES-256-CTR'}, q{INSERT INTO three VALUES (1, 'ctr')},
	'ALTER TABLE two DISABLE ENCRYPTION', q{INSERT INTO two VALUES (2, 'plain')});
$publisher->poll_query_until('postgres', $done) or die 'not decrypted';
$publisher->safe_psql('postgres', 'DROP TABLE one; DROP TABLE two; DROP TABLE three');
$publisher->restart;
$publisher->safe_psql('postgres', 'CHECKPOINT') foreach 1 .. 3;
my $changes = q{SELECT regexp_replace(data, '(wide){3,}', '...') FROM pg_logical_slot_%s_changes('lagging', NULL, NULL, 'skip-empty-xacts', '1', 'include-xids', '0') WHERE data ~ 'table public.(one|two|three)'};
my $want = <<'OUT';
table public.one: INSERT: id[integer]:1 v[text]:'first'
table public.one: INSERT: id[integer]:2 v[text]:'...'
table public.one: INSERT: id[integer]:3 v[text]:'second'
table public.one: UPDATE: id[integer]:1 v[text]:'third'
table public.two: INSERT: id[integer]:1 v[text]:'xts'
table public.three: INSERT: id[integer]:1 v[text]:'ctr'
table public.two: INSERT: id[integer]:2 v[text]:'plain'
OUT
is($publisher->safe_psql('postgres', sprintf($changes, 'peek')) . "\n", $want, 'a slot that lags behind rotations and DROP TABLE decodes all of it');
$publisher->safe_psql('postgres', q{SELECT pg_copy_logical_replication_slot('lagging', 'copied')});
$publisher->crash;
is($publisher->safe_psql('postgres', sprintf($changes, 'get')) . "\n", $want, 'also after a crash');
(my $of_copy = sprintf($changes, 'get')) =~ s/lagging/copied/;
$publisher->safe_psql('postgres', 'CHECKPOINT') foreach 1 .. 2;
is($publisher->safe_psql('postgres', $of_copy) . "\n", $want, 'a copy of the slot keeps the keys');

# When no slot needs them any more they go, at the latest when the server starts.
my $left = q{SELECT count(*) FROM tde_vault.keys k WHERE kind = 'table' AND "table" IS NOT NULL AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = k."table"::oid)};
$publisher->safe_psql('postgres', q{SELECT pg_drop_replication_slot('lagging'), pg_drop_replication_slot('copied')});
$publisher->restart;
$publisher->sql_is($left, '0', 'and then they are destroyed');

# --- spilled to disk: the control ----------------------------------------------------------

# What 230 does not find in the spill files of this server is there on one without the module.
my $control = PostgreSQL::Test::Cluster->new('control');
$control->init(allows_streaming => 1);
$control->append_conf('postgresql.conf', "wal_level = logical\nlogical_decoding_work_mem = 64kB\n");
$control->start;
my $marker = TdeVault::marker('spilled, too');
foreach my $node ($control, $publisher)
{
	$node->safe_psql('postgres', q{CREATE TABLE big (id int, v text); SELECT pg_create_logical_replication_slot('spilling', 'test_decoding')});
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; INSERT INTO big SELECT g, '$marker' || g FROM generate_series(1, 8000) g");
	my ($out, $err) = ('', '');
	my $receiver;
	{
		local %ENV = $node->_get_env();
		$receiver = IPC::Run::start([ 'pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 'spilling', '--start', '-f', '-', '--no-loop' ], '<', \undef, '>', \$out, '2>', \$err);
	}
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $spilled = 0;
	until ($spilled > 300_000)
	{
		die "nothing was spilled: $err" if time > $deadline;
		Time::HiRes::usleep(50_000);
		$receiver->pump_nb;
		$spilled = 0;
		$spilled += -s $_ // 0 foreach glob($node->data_dir . '/pg_replslot/spilling/*.spill');
	}
	my @found = grep { /\.spill$/ } @{ TdeVault::find_markers($node, { it => $marker })->{it} };
	if ($node == $control) { cmp_ok(scalar(@found), '>', 0, 'spill files without the module: found'); }
	else                   { is("@found", '', 'spill files with it: not found'); }
	$session->query_safe('ROLLBACK');
	$session->quit;
	$receiver->signal('INT');
	$receiver->finish;
}
$publisher->verify_ok('verify is clean on the publisher', min => 8);
$subscriber->verify_ok('verify is clean on the subscriber', min => 6);
unlike(slurp_file($_->logfile), qr/PANIC|encrypted WAL record|keyring does not hold/, 'nothing amiss in the log of ' . $_->name) foreach $publisher, $subscriber;
done_testing();
