# Logical decoding of sealed tables: test_decoding, and publication to a
# subscriber whose tables are sealed too.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $publisher = TdeVault->create('publisher', streaming => 1, conf => "wal_level = logical\nmax_prepared_transactions = 5\nlogical_decoding_work_mem = 64kB\n");
my $subscriber = TdeVault->create('subscriber', streaming => 1, conf => "wal_level = logical\n");

$publisher->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING tde_heap;
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
CREATE TABLE fully (id int, v text) USING tde_heap;
ALTER TABLE fully REPLICA IDENTITY FULL;
CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
CREATE TABLE dropped (id int PRIMARY KEY, v text) USING tde_heap;
SELECT pg_create_logical_replication_slot('test', 'test_decoding');
INSERT INTO t VALUES (1, 'one', repeat('big', 2000)), (2, 'two', NULL);
INSERT INTO fully VALUES (1, 'one'), (2, 'two');
UPDATE t SET v = 'uno' WHERE id = 1;
UPDATE fully SET v = 'due' WHERE id = 2;
UPDATE t SET id = 3 WHERE id = 2;
DELETE FROM t WHERE id = 3;
DELETE FROM fully WHERE id = 1;
BEGIN; INSERT INTO t VALUES (10, 'ten'); SAVEPOINT a; INSERT INTO t VALUES (11, 'eleven'); ROLLBACK TO a; INSERT INTO plain VALUES (12, 'twelve'); COMMIT;
COPY t (id, v) FROM stdin;
20	copied
21	copied too
\.
TRUNCATE fully;
INSERT INTO t (id, v) VALUES (1, 'tried') ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO dropped SELECT g, 'was there ' || g FROM generate_series(1, 3) g;
DROP TABLE dropped;
VACUUM FULL t;
CHECKPOINT;
INSERT INTO t VALUES (30, 'after a rewrite');
SQL

my $want = <<'OUT';
table public.t: INSERT: id[integer]:1 v[text]:'one' big[text]:'...'
table public.t: INSERT: id[integer]:2 v[text]:'two' big[text]:null
table public.fully: INSERT: id[integer]:1 v[text]:'one'
table public.fully: INSERT: id[integer]:2 v[text]:'two'
table public.t: UPDATE: id[integer]:1 v[text]:'uno' big[text]:unchanged-toast-datum
table public.fully: UPDATE: old-key: id[integer]:2 v[text]:'two' new-tuple: id[integer]:2 v[text]:'due'
table public.t: UPDATE: old-key: id[integer]:2 new-tuple: id[integer]:3 v[text]:'two' big[text]:null
table public.t: DELETE: id[integer]:3
table public.fully: DELETE: id[integer]:1 v[text]:'one'
table public.t: INSERT: id[integer]:10 v[text]:'ten' big[text]:null
table public.plain: INSERT: id[integer]:12 v[text]:'twelve'
table public.t: INSERT: id[integer]:20 v[text]:'copied' big[text]:null
table public.t: INSERT: id[integer]:21 v[text]:'copied too' big[text]:null
table public.fully: TRUNCATE: (no-flags)
table public.t: UPDATE: id[integer]:1 v[text]:'tried' big[text]:unchanged-toast-datum
table public.dropped: INSERT: id[integer]:1 v[text]:'was there 1'
table public.dropped: INSERT: id[integer]:2 v[text]:'was there 2'
table public.dropped: INSERT: id[integer]:3 v[text]:'was there 3'
table public.t: INSERT: id[integer]:30 v[text]:'after a rewrite' big[text]:null
OUT
my $changes = q{SELECT regexp_replace(data, '(big){3,}', '...') FROM pg_logical_slot_%s_changes('test', NULL, NULL, 'skip-empty-xacts', '1', 'include-xids', '0') WHERE data !~ '^(BEGIN|COMMIT)'};
is($publisher->safe_psql('postgres', sprintf($changes, 'peek')) . "\n", $want, 'test_decoding yields every change');

# Also after a crash, from the slot's position: the dropped table's key lives.
$publisher->crash;
$publisher->safe_psql('postgres', 'CHECKPOINT');
is($publisher->safe_psql('postgres', sprintf($changes, 'peek')) . "\n", $want, 'the same after a crash');
$publisher->restart;
is($publisher->safe_psql('postgres', sprintf($changes, 'get')) . "\n", $want, 'and after a restart');

# A transaction that spills.
$publisher->safe_psql('postgres', q{INSERT INTO t SELECT g, 'spilled ' || g FROM generate_series(1000, 6000) g});
$publisher->sql_is(q{SELECT count(*) FROM pg_logical_slot_get_changes('test', NULL, NULL) WHERE data LIKE '%spilled%'}, '5001', 'a large transaction');
$publisher->sql_is(q{SELECT spill_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'test'}, 't', 'it was spilled');

# While a transaction is in progress, what was spilled is on disk: sealed.
my $marker = TdeVault::marker('spilled');
my $big = $publisher->background_psql('postgres');
$big->query_safe("BEGIN");
$big->query_safe("INSERT INTO t SELECT g, '$marker' || g FROM generate_series(100000, 105000) g");
$big->query_safe("INSERT INTO t (id, v) SELECT 200000 + g, repeat('$marker', g * 20) FROM generate_series(1, 20) g");
my ($received, $recv_err) = ('', '');
my $recv;
{
	local %ENV = $publisher->_get_env();
	$recv = IPC::Run::start([ 'pg_recvlogical', '-d', $publisher->connstr('postgres'), '--slot', 'test', '--start', '-f', '-', '-o', 'include-xids=0', '--no-loop' ],
		'<', \undef, '>', \$received, '2>', \$recv_err);
}
my $spill_dir = $publisher->data_dir . '/pg_replslot/test';
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $spilled = 0;
until ($spilled > 400_000)
{
	die "nothing was spilled: $recv_err" if time > $deadline;
	Time::HiRes::usleep(50_000);
	$recv->pump_nb;
	$spilled = 0;
	$spilled += -s $_ // 0 foreach glob("$spill_dir/*.spill");
}

# The other files of decoding: snapshots, which decoding writes when it meets
# the list of running transactions, and which rows of catalogs (and of tables
# that are declared to be used as such) a rewrite has moved where.
my %in_files = (
	spill => $marker,
	rewritten => TdeVault::marker('rewritten'),
	committed => TdeVault::marker('committed'),
	subtransaction => TdeVault::marker('subtransaction'),
	control => TdeVault::marker('control'));
my @statements = (
	"CREATE TABLE catalog (id int PRIMARY KEY, v text) USING tde_heap WITH (user_catalog_table = true)",
	"INSERT INTO catalog SELECT g, '$in_files{rewritten}' || g FROM generate_series(1, 500) g",
	"UPDATE catalog SET v = v || '!' WHERE id % 2 = 0",
	"CREATE TABLE ddl (v text) USING tde_heap",
	"INSERT INTO ddl VALUES ('$in_files{committed}')",
	"BEGIN; SAVEPOINT a; ALTER TABLE ddl ADD w text; INSERT INTO ddl VALUES ('x', '$in_files{subtransaction}'); RELEASE a; COMMIT",
	"CREATE TABLE control USING heap AS SELECT '$in_files{control}' AS v",
	'CHECKPOINT', 'VACUUM FULL catalog', 'VACUUM FULL pg_class');
$publisher->safe_psql('postgres', $_) foreach @statements;
my $logical = $publisher->data_dir . '/pg_logical';
my $old_snapshots = join ' ', sort glob("$logical/snapshots/*.snap");
until (join(' ', sort glob("$logical/snapshots/*.snap")) ne $old_snapshots)
{
	die "no snapshot was written: $recv_err" if time > $deadline;
	# a list of running transactions for the decoder to meet
	$publisher->safe_psql('postgres', 'CREATE TABLE IF NOT EXISTS tick (id int) USING heap; INSERT INTO tick VALUES (1); CHECKPOINT');
	Time::HiRes::usleep(50_000);
	$recv->pump_nb;
}
my $catalog = $publisher->safe_psql('postgres', q{SELECT to_hex('catalog'::regclass::oid::int), to_hex(oid::int) FROM pg_database WHERE datname = 'postgres'});
my ($relation, $database) = split /\|/, $catalog;
$publisher->safe_psql('postgres', 'VACUUM FULL catalog');
cmp_ok(scalar(grep { -s $_ > 100 } glob("$logical/snapshots/*.snap")), '>', 0, 'there are snapshots of decoding');
cmp_ok(scalar(grep { -s $_ > 1000 } glob("$logical/mappings/map-$database-$relation-*")), '>', 0, 'and maps of rewritten rows');
my $found = $publisher->find_markers(\%in_files);
cmp_ok(scalar(@{ delete $found->{control} }), '>', 0, 'the control is found');
is("@{ $found->{$_} }", '', "what decoding keeps in files holds no plaintext: $_") foreach sort keys %$found;
$big->query_safe('COMMIT');
$big->quit;
until ($received =~ /200020/)
{
	die "the transaction did not arrive: $recv_err" if time > $deadline;
	$recv->pump;
}
$recv->signal('INT');
$recv->finish;
is(scalar(() = $received =~ /INSERT: id\[integer\]:10\d{4} v\[text\]:'$marker/g), 5001, 'and every row is read back from them');
like($received, qr/id\[integer\]:200020 v\[text\]:'(?:$marker){400}'/, 'long values, too');

# --- publication and subscription ------------------------------------------

my $connstr = $publisher->connstr . ' dbname=postgres';
$publisher->safe_psql('postgres', 'CREATE PUBLICATION p FOR TABLE t, fully, plain');
$subscriber->safe_psql('postgres', <<"SQL");
CREATE TABLE t (id int PRIMARY KEY, v text, big text) USING tde_heap;
CREATE TABLE fully (id int, v text) USING tde_heap;
CREATE TABLE plain (id int PRIMARY KEY, v text) USING tde_heap;
CREATE SUBSCRIPTION s CONNECTION '$connstr' PUBLICATION p WITH (streaming = on);
SQL
$subscriber->wait_for_subscription_sync($publisher, 's');
my $digest = q{SELECT 't', count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM t UNION ALL
	SELECT 'fully', count(*), md5(string_agg(f::text, ',' ORDER BY id)) FROM fully f UNION ALL
	SELECT 'plain', count(*), md5(string_agg(p::text, ',' ORDER BY id)) FROM plain p};
$subscriber->sql_is($digest, $publisher->safe_psql('postgres', $digest), 'initial copy');

$publisher->safe_psql('postgres', <<'SQL');
UPDATE t SET v = v || '!', big = repeat('more', 3000) WHERE id % 10 = 0;
DELETE FROM t WHERE id % 7 = 0;
INSERT INTO fully SELECT g, 'row ' || g FROM generate_series(1, 1000) g;
UPDATE fully SET v = 'changed' WHERE id < 10;
DELETE FROM fully WHERE id > 990;
BEGIN;
INSERT INTO t SELECT g, 'streamed ' || g FROM generate_series(10000, 20000) g;
SAVEPOINT a;
DELETE FROM t WHERE id > 15000;
ROLLBACK TO a;
UPDATE t SET v = 'streamed update' WHERE id > 19000;
COMMIT;
VACUUM FULL fully;
INSERT INTO fully VALUES (5000, 'after the rewrite');
SQL
$publisher->wait_for_catchup('s');
$subscriber->sql_is($digest, $publisher->safe_psql('postgres', $digest), 'changes');

# While a streamed transaction is in progress, the subscriber keeps it in
# temporary files, closes and opens them, and cuts them when a part is undone.
my $streamed = TdeVault::marker('streamed');
$big = $publisher->background_psql('postgres');
$big->query_safe('BEGIN');
foreach my $part (1 .. 3)
{
	$big->query_safe("INSERT INTO t SELECT 1000000 + $part * 10000 + g, '$streamed' || g FROM generate_series(1, 3000) g");
	$big->query_safe('SAVEPOINT b');
	$big->query_safe("INSERT INTO t SELECT 1005000 + $part * 10000 + g, '$streamed' || g FROM generate_series(1, 3000) g");
	$big->query_safe('ROLLBACK TO b');
}
my $kept = 0;
until ($kept > 300_000)
{
	die 'nothing was streamed' if time > $deadline;
	Time::HiRes::usleep(50_000);
	$kept = 0;
	$kept += -s $_ // 0 foreach glob($subscriber->data_dir . '/base/pgsql_tmp/*/*');
}
is("@{ $subscriber->find_markers({ it => $streamed })->{it} }", '', 'temporary files of the subscriber hold no plaintext');
$big->query_safe('COMMIT');
$big->quit;
$publisher->wait_for_catchup('s');
$subscriber->sql_is($digest, $publisher->safe_psql('postgres', $digest), 'the streamed transaction');
$publisher->sql_is(q{SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 's'}, 't', 'a transaction was streamed while in progress');
$publisher->verify_ok('verify is clean on the publisher');
$subscriber->verify_ok('verify is clean on the subscriber');

done_testing();
