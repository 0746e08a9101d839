# What is written to encrypted tables is in no byte of WAL: not in pg_wal, not
# in the archive, not in what pg_receivewal writes, not on a standby's disk,
# not in replication slots.  The same statements on plain tables are found, so
# the search works.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $received = PostgreSQL::Test::Utils::tempdir_short();

my $node = TdeVault->create('primary', streaming => 1, conf => <<"CONF");
wal_level = logical
wal_keep_size = 1GB
archive_mode = on
archive_command = 'cp %p $archive/%f'
max_prepared_transactions = 5
CONF
my %am = (vault => 'tde_heap', plain => 'heap');
foreach my $db (sort keys %am)
{
	$node->create_database($db);
	$node->safe_psql($db, "CREATE EXTENSION bloom; CREATE EXTENSION btree_gist; SELECT pg_create_logical_replication_slot('slot_$db', 'test_decoding')");
}

# Each path writes {M}, its marker, in a table of its own, t, in a schema of
# its own.  Rows come in a number that makes indexes split.
my $rows = q{SELECT g AS id, '{M}' || g AS v FROM generate_series(1, 400) g};
my $filled = "CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t $rows;";
my @paths = (
	insert => q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t VALUES (1, '{M}');},
	multi_insert => q{CREATE TABLE t (id int, v text) USING {AM};
COPY t FROM stdin;
1	{M}a
2	{M}b
\.
},
	insert_select => $filled,
	create_table_as => "CREATE TABLE t USING {AM} AS $rows;",
	hot_update => q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t VALUES (1, 'x'); UPDATE t SET v = '{M}';},
	indexed_update => q{CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t (v); INSERT INTO t VALUES (1, 'x'); UPDATE t SET v = '{M}';},
	delete_identity_full => q{CREATE TABLE t (id int, v text) USING {AM}; ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, '{M}'); CHECKPOINT; DELETE FROM t;},
	update_identity_full => q{CREATE TABLE t (id int, v text) USING {AM}; ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, '{M}'); UPDATE t SET v = 'y';},
	toast => q{CREATE TABLE t (id int, v text) USING {AM}; ALTER TABLE t ALTER v SET STORAGE EXTERNAL; INSERT INTO t VALUES (1, repeat('{M}', 1000));},
	wide_compressed => q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t VALUES (1, '{M}' || repeat('filler', 2000));},
	full_page_image => "$filled CHECKPOINT; UPDATE t SET id = -id WHERE id = 1;",
	hint_bit_image => "$filled CHECKPOINT; SELECT count(*) FROM t;",
	btree_insert => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t (v); INSERT INTO t $rows;",
	btree_build => "$filled CREATE INDEX ON t (v);",
	btree_concurrent => "$filled CREATE INDEX CONCURRENTLY ON t (v);",
	hash_index => "$filled CREATE INDEX ON t USING hash (v); INSERT INTO t $rows;",
	gin_insert => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t USING gin (string_to_array(v, ',')) WITH (fastupdate = off); INSERT INTO t $rows;",
	gin_pending => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t USING gin (string_to_array(v, ',')) WITH (fastupdate = on); INSERT INTO t $rows; VACUUM t;",
	gin_build => "$filled CREATE INDEX ON t USING gin (string_to_array(v, ','));",
	gist_insert => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t USING gist (v); INSERT INTO t $rows;",
	gist_build => "$filled CREATE INDEX ON t USING gist (v);",
	spgist_insert => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t USING spgist (v); INSERT INTO t $rows;",
	spgist_build => "$filled CREATE INDEX ON t USING spgist (v);",
	brin_insert => "CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t USING brin (v) WITH (pages_per_range = 1); INSERT INTO t $rows; VACUUM t;",
	brin_build => "$filled CREATE INDEX ON t USING brin (v);",
	bloom => "$filled CREATE INDEX ON t USING bloom (v); INSERT INTO t $rows;",
	cluster => "$filled CREATE INDEX i ON t (v); CLUSTER t USING i;",
	vacuum => "$filled DELETE FROM t WHERE id % 3 = 0; VACUUM t; VACUUM FREEZE t;",
	vacuum_full => "$filled VACUUM FULL t;",
	rewrite => "$filled ALTER TABLE t ALTER id TYPE bigint;",
	reindex => "$filled CREATE INDEX ON t (v); REINDEX TABLE t;",
	set_logged => "CREATE UNLOGGED TABLE t (id int, v text) USING {AM}; INSERT INTO t $rows; ALTER TABLE t SET LOGGED;",
	materialized_view => "CREATE MATERIALIZED VIEW t USING {AM} AS $rows;",
	two_phase => "CREATE TABLE t (id int, v text) USING {AM}; BEGIN; INSERT INTO t $rows; PREPARE TRANSACTION 'p_{DB}'; CHECKPOINT; COMMIT PREPARED 'p_{DB}';",
	subtransaction => "CREATE TABLE t (id int, v text) USING {AM}; BEGIN; SAVEPOINT a; INSERT INTO t $rows; ROLLBACK TO a; INSERT INTO t $rows; COMMIT;",
	aborted => "CREATE TABLE t (id int, v text) USING {AM}; BEGIN; INSERT INTO t $rows; ROLLBACK;",
	lock_and_select => "$filled BEGIN; SELECT * FROM t WHERE id = 1 FOR UPDATE; COMMIT;",
	truncate => "$filled TRUNCATE t; INSERT INTO t $rows;",
);
my (@labels, %script);
while (my ($label, $sql) = splice @paths, 0, 2)
{
	push @labels, $label;
	$script{$label} = $sql;
}

my @receivewal = ('pg_receivewal', '-D', $received, '--no-loop');
$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('receive', true)});
$node->backup('base');
my $standby = TdeVault->create_from_backup('standby', $node, 'base', has_streaming => 1);
$standby->start;

my (%marker, %failed);
foreach my $compression ('', 'pglz', 'lz4', 'zstd')
{
	my $suffix = $compression eq '' ? '' : " $compression";
	foreach my $db (sort keys %am)
	{
		foreach my $label (@labels)
		{
			my $schema = $label . ($compression eq '' ? '' : "_$compression");
			my $marker = TdeVault::marker("wal $db $schema");
			(my $sql = $script{$label}) =~ s/\{AM\}/$am{$db}/g;
			$sql =~ s/\{M\}/$marker/g;
			$sql =~ s/\{DB\}/${schema}_$db/g;
			$marker{"$db $label$suffix"} = $marker;
			my $begin = $compression eq '' ? '' : "SET wal_compression = '$compression';\n";
			my ($rc, $out, $err) = $node->psql($db, "${begin}CREATE SCHEMA $schema; SET search_path = $schema, public;\n$sql\n",
				on_error_stop => 1);
			$failed{"$db $label$suffix"} = $err if $rc != 0;
		}
	}
}
is_deeply(\%failed, {}, 'every statement ran');

# Everything is where it goes: archive, standby, receiver.
$node->safe_psql('postgres', 'CHECKPOINT');
my $end = $node->lsn('insert');
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->wait_for_catchup($standby, 'replay', $end);
$node->poll_query_until('postgres', "SELECT last_archived_wal >= pg_walfile_name('$end') FROM pg_stat_archiver")
  or die 'archiving did not finish';
$node->command_ok([ @receivewal, '--slot', 'receive', '--endpos', $end ], 'pg_receivewal');

my $consumer = 'slot_vault';
$node->safe_psql('vault', "SELECT count(*) FROM pg_logical_slot_peek_changes('$consumer', NULL, NULL)");
$standby->safe_psql('postgres', 'CHECKPOINT');
$standby->stop('fast');

my $on_primary = $node->find_markers(\%marker, also => [ $archive, $received ]);
my $on_standby = $standby->find_markers(\%marker);

# Its key is an encoded bitmap or a hash: the table's rows are what is found.
foreach my $suffix ('', ' pglz', ' lz4', ' zstd')
{
	foreach my $label (map { "$_$suffix" } @labels)
	{
		is("@{ $on_primary->{\"vault $label\"} } @{ $on_standby->{\"vault $label\"} }", ' ', "$label: not found");
		cmp_ok(scalar(grep { m{pg_wal/} } @{ $on_primary->{"plain $label"} }), '>', 0, "$label: the control is found in pg_wal");
	}
}
foreach my $place ($archive, $received)
{
	cmp_ok(scalar(grep { m{^\Q$place\E/} } map { @$_ } values %$on_primary), '>', 0, "controls are found in $place")
}
cmp_ok(scalar(map { @$_ } values %$on_standby), '>', 0, 'controls are found on the standby');

# Stock tools read it.
my ($waldump, $stderr) = ('', '');
foreach my $file (sort glob($node->data_dir . '/pg_wal/0*'))
{
	next if $file =~ /\.partial$/;
	my ($stdout, $err);
	IPC::Run::run([ 'pg_waldump', $file ], '>', \$stdout, '2>', \$err);
	$waldump .= $stdout;
	$stderr .= $err;
}
# The end of WAL in the last segment, and recycled segments after it, are no error of ours.
$stderr =~ s/^pg_waldump: error: (?:error in WAL record|could not find a valid record|could not read).*\n?//mg;
is($stderr, '', 'pg_waldump reads it');
like($waldump, qr/custom217.*blkref #0: rel \d+\/\d+\/\d+ blk \d+/, 'it prints sealed records and their blocks');
like($waldump, qr/custom216/, 'it prints the keyring\'s records');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');
my ($first) = $waldump =~ /custom217.*?lsn: ([0-9A-F\/]+)/;
$node->sql_is(qq{SELECT count(DISTINCT split_part(description, ':', 1)) > 20, count(*) FILTER (WHERE description ~ 'encrypted|damaged'), count(*) FILTER (WHERE description ~ '^Heap/INSERT: off [0-9]+ flags') > 100
	FROM pg_get_wal_records_info_till_end_of_wal('$first') WHERE resource_manager = 'tde_vault_sealed'},
	't|0|t', 'pg_walinspect opens and describes sealed records');
$node->sql_is(q{SELECT count(*) > 10 FROM pg_get_wal_records_info_till_end_of_wal('} . $first . q{') WHERE resource_manager = 'tde_vault' AND record_type = 'FILE'},
	't', 'pg_walinspect describes the keyring\'s records');

$node->verify_ok('verify is clean', db => 'vault', min => 50);
done_testing();
