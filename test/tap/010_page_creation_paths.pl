# Every way in which a relation file comes to be: its pages are sealed from
# the first one on.
#
# Each path is a script with a marker of its own.  It runs twice: in database
# "vault" with tde_heap, where no file may hold the marker afterwards, and in
# database "plain" with heap, where the same search must find it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', master => 'cluster',
	conf => "temp_buffers = 100\nmax_prepared_transactions = 2");
my $tablespace = $node->basedir . '/ts';
mkdir $tablespace or die;
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$tablespace'");

my %am = (vault => 'tde_heap', plain => 'heap');
foreach my $db (sort keys %am)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$node->safe_psql($db, <<'SQL');
CREATE EXTENSION tde_vault;
CREATE EXTENSION bloom SCHEMA pg_catalog;
CREATE EXTENSION btree_gist SCHEMA pg_catalog;
SQL
}

# {M} the marker, {AM} the access method, {ROWS} two columns, 300 rows.
my $rows  = q{SELECT g AS id, '{M}' || g AS v FROM generate_series(1, 300) g};
my $table = q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t {ROWS};};
my @paths = (
	# Tables
	create_table => $table,
	create_default_am => q{SET default_table_access_method = {AM};
		CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE); INSERT INTO t {ROWS};},
	create_as => q{CREATE TABLE t USING {AM} AS {ROWS};},
	create_as_execute => q{PREPARE q AS {ROWS}; CREATE TABLE t USING {AM} AS EXECUTE q;},
	create_as_no_data => q{CREATE TABLE t USING {AM} AS {ROWS} WITH NO DATA; INSERT INTO t {ROWS};},
	select_into => q{SET default_table_access_method = {AM}; SELECT * INTO t FROM ({ROWS}) x;},
	create_like => q{CREATE TABLE src (id serial PRIMARY KEY, v text UNIQUE, w text GENERATED ALWAYS AS (upper(v)) STORED) USING {AM};
		CREATE TABLE t (LIKE src INCLUDING ALL) USING {AM}; INSERT INTO t (v) SELECT v FROM ({ROWS}) x;},
	partition_of => q{CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE INDEX ON p (v);
		CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (150) USING {AM};
		SET default_table_access_method = {AM};
		CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p {ROWS}; CREATE INDEX ON p (id, v);},
	attach_partition => q{CREATE TABLE p (id int, v text) PARTITION BY RANGE (id); CREATE INDEX ON p (v);
		CREATE TABLE p1 (id int, v text) USING {AM}; INSERT INTO p1 {ROWS};
		ALTER TABLE p ATTACH PARTITION p1 DEFAULT;},
	inherits => q{CREATE TABLE a (id int, v text) USING {AM}; CREATE TABLE b (w text) INHERITS (a) USING {AM};
		INSERT INTO b {ROWS}; INSERT INTO a {ROWS};},
	in_create_schema => q{SET default_table_access_method = {AM};
		CREATE SCHEMA AUTHORIZATION CURRENT_USER CREATE TABLE t (id int PRIMARY KEY, v text) CREATE INDEX t_v ON t (v);
		ALTER TABLE {USER}.t SET SCHEMA {S}; DROP SCHEMA {USER}; INSERT INTO t {ROWS};},
	typed_table => q{CREATE TYPE ty AS (id int, v text); CREATE TABLE t OF ty (PRIMARY KEY (id)) USING {AM}; INSERT INTO t {ROWS};},
	foreign_keys => q{CREATE TABLE a (id int PRIMARY KEY, v text UNIQUE) USING {AM};
		CREATE TABLE b (id int REFERENCES a ON DELETE CASCADE, v text REFERENCES a (v)) USING {AM};
		INSERT INTO a {ROWS}; INSERT INTO b {ROWS}; DELETE FROM a WHERE id > 250;},
	generated_column => q{CREATE TABLE t (id int, v text, w text GENERATED ALWAYS AS (v || '/' || v) STORED) USING {AM};
		INSERT INTO t (id, v) {ROWS};},
	with_tablespace => q{CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE ts, v text) USING {AM} TABLESPACE ts; INSERT INTO t {ROWS};},
	unlogged => q{CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text) USING {AM}; INSERT INTO t {ROWS};},
	copy => qq{CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM};\nCOPY t FROM stdin;\n} . join('', map { "$_\t{M}$_\n" } 1 .. 300) . "\\.\n",
	copy_freeze => qq{BEGIN; CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM};\nCOPY t FROM stdin (FREEZE);\n} . join('', map { "$_\t{M}$_\n" } 1 .. 300) . "\\.\nCOMMIT;\n",
	toast_external => q{CREATE TABLE t (id int, v text) USING {AM}; ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
		INSERT INTO t SELECT id, repeat(v, 200) FROM ({ROWS}) x;},
	toast_compressed => q{CREATE TABLE t (id int, v text) USING {AM};
		INSERT INTO t SELECT id, v || (SELECT string_agg(md5(i::text), v) FROM generate_series(1, 300) i) FROM ({ROWS}) x;},
	inline_compressed => q{CREATE TABLE t (id int, v text) USING {AM}; INSERT INTO t SELECT id, v || repeat('x', 4000) FROM ({ROWS}) x;},
	add_toast_later => q{CREATE TABLE t (id int) USING {AM}; ALTER TABLE t ADD v text; INSERT INTO t SELECT id, repeat(v, 400) FROM ({ROWS}) x;},
	prepared_transaction => q{CREATE TABLE t (id int, v text) USING {AM}; BEGIN; INSERT INTO t {ROWS};
		PREPARE TRANSACTION '{S}'; COMMIT PREPARED '{S}';},
	rolled_back_insert => q{CREATE TABLE t (id int, v text) USING {AM}; BEGIN; INSERT INTO t {ROWS}; ROLLBACK;},
	do_block => q{SET default_table_access_method = {AM};
		DO $$BEGIN CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t {ROWS}; END$$;},

	# Indexes
	index_btree => $table . q{CREATE INDEX ON t (v); CREATE INDEX ON t (id) INCLUDE (v);},
	index_concurrently => $table . q{CREATE INDEX CONCURRENTLY ON t (v);},
	index_hash => $table . q{CREATE INDEX ON t USING hash (v);},
	index_gin => $table . q{CREATE INDEX ON t USING gin (to_tsvector('simple', v)); CREATE INDEX ON t USING gin ((ARRAY[v, v || 'x']));
		INSERT INTO t {ROWS};},
	index_gist => $table . q{CREATE INDEX ON t USING gist (v); CREATE INDEX ON t USING gist (to_tsvector('simple', v));},
	index_spgist => $table . q{CREATE INDEX ON t USING spgist (v);},
	index_brin => $table . q{CREATE INDEX ON t USING brin (v) WITH (pages_per_range = 1); INSERT INTO t {ROWS};},
	index_bloom => $table . q{CREATE INDEX ON t USING bloom (v);},
	index_expression => $table . q{CREATE INDEX ON t (upper(v)); CREATE INDEX ON t ((v || v)) WHERE id > 5;},
	index_every_am_concurrently => $table . q{CREATE INDEX CONCURRENTLY ON t USING hash (v); CREATE INDEX CONCURRENTLY ON t USING gist (v);
		CREATE INDEX CONCURRENTLY ON t USING spgist (v); CREATE INDEX CONCURRENTLY ON t USING brin (v);
		CREATE INDEX CONCURRENTLY ON t USING gin ((ARRAY[v])); CREATE INDEX CONCURRENTLY ON t USING bloom (v);},
	index_parallel => $table . q{ALTER TABLE t SET (parallel_workers = 2); SET min_parallel_table_scan_size = 0;
		SET maintenance_work_mem = '64MB'; CREATE INDEX ON t (v);},
	index_empty_then_filled => q{CREATE TABLE t (id int, v text) USING {AM}; CREATE INDEX ON t (v); CREATE INDEX ON t USING hash (v);
		CREATE INDEX ON t USING gin ((ARRAY[v])); CREATE INDEX ON t USING gist (v); CREATE INDEX ON t USING spgist (v);
		CREATE INDEX ON t USING brin (v); CREATE INDEX ON t USING bloom (v); INSERT INTO t {ROWS};},
	constraints => q{CREATE TABLE t (id int, v text, EXCLUDE USING gist (v WITH =)) USING {AM};
		ALTER TABLE t ADD PRIMARY KEY (id); ALTER TABLE t ADD UNIQUE (v) DEFERRABLE; INSERT INTO t {ROWS};
		CREATE UNIQUE INDEX u ON t (v, id); ALTER TABLE t ADD UNIQUE USING INDEX u;},
	reindex => $table . q{CREATE INDEX i ON t (v); CREATE INDEX j ON t USING gin ((ARRAY[v])); REINDEX TABLE t; REINDEX INDEX i;
		REINDEX (TABLESPACE ts) INDEX j;},
	reindex_concurrently => $table . q{CREATE INDEX i ON t (v); CREATE INDEX ON t USING hash (v);
		REINDEX TABLE CONCURRENTLY t; REINDEX INDEX CONCURRENTLY i;},
	reindex_schema => $table . q{CREATE INDEX i ON t (v); REINDEX SCHEMA {S};},

	# Rewrites and truncation
	truncate => $table . q{CREATE INDEX ON t (v); TRUNCATE t; INSERT INTO t {ROWS};},
	truncate_in_create => q{BEGIN; CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM}; INSERT INTO t {ROWS};
		TRUNCATE t; INSERT INTO t {ROWS}; COMMIT;},
	truncate_twice_in_create => q{BEGIN; CREATE TABLE t (id int, v text) USING {AM}; TRUNCATE t; CREATE INDEX ON t (v);
		SAVEPOINT a; TRUNCATE t; INSERT INTO t {ROWS}; ROLLBACK TO a; INSERT INTO t {ROWS}; COMMIT;},
	vacuum_full => $table . q{CREATE INDEX ON t (v); DELETE FROM t WHERE id % 3 = 0; VACUUM FULL t; VACUUM (FREEZE) t;},
	cluster => $table . q{CREATE INDEX i ON t (v); CLUSTER t USING i; CLUSTER t;},
	alter_type => $table . q{CREATE INDEX ON t (v); ALTER TABLE t ALTER id TYPE bigint; ALTER TABLE t ALTER v TYPE varchar USING v || 'y';},
	add_column_volatile => $table . q{ALTER TABLE t ADD u uuid DEFAULT gen_random_uuid(); ALTER TABLE t ADD w text GENERATED ALWAYS AS (v) STORED;},
	set_unlogged_logged => $table . q{CREATE INDEX ON t (v); ALTER TABLE t SET UNLOGGED; INSERT INTO t {ROWS}; ALTER TABLE t SET LOGGED;},
	set_unlogged => $table . q{CREATE INDEX ON t (v); ALTER TABLE t SET UNLOGGED; INSERT INTO t {ROWS};},
	set_tablespace => q{CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM}; INSERT INTO t SELECT id, repeat(v, 300) FROM ({ROWS}) x;
		CREATE INDEX i ON t (left(v, 100)); ALTER TABLE t SET TABLESPACE ts; ALTER INDEX i SET TABLESPACE ts; INSERT INTO t SELECT id + 1000, v FROM ({ROWS}) x;},
	set_tablespace_and_back => $table . q{CREATE INDEX i ON t (v); ALTER TABLE t SET TABLESPACE ts; ALTER TABLE t SET TABLESPACE pg_default;
		ALTER INDEX i SET TABLESPACE ts; ALTER INDEX i SET TABLESPACE pg_default; INSERT INTO t {ROWS};},
	set_tablespace_unlogged => q{CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v text) USING {AM}; INSERT INTO t {ROWS};
		ALTER TABLE t SET TABLESPACE ts; INSERT INTO t SELECT id + 1000, v FROM ({ROWS}) x;},
	set_am_heap_to_vault => q{CREATE TABLE t (id serial PRIMARY KEY, v text) USING heap; CREATE INDEX ON t (v);
		INSERT INTO t {ROWS}; INSERT INTO t SELECT id + 1000, repeat(v, 300) FROM ({ROWS}) x WHERE id < 3; ALTER TABLE t SET ACCESS METHOD {AM};},
	set_am_round_trip => $table . q{CREATE INDEX ON t (v); ALTER TABLE t SET ACCESS METHOD heap; ALTER TABLE t SET ACCESS METHOD {AM};},
	matview => q{CREATE MATERIALIZED VIEW t USING {AM} AS {ROWS}; CREATE INDEX ON t (v);},
	matview_refresh => q{CREATE TABLE a (id int, v text) USING {AM}; INSERT INTO a {ROWS};
		CREATE MATERIALIZED VIEW t USING {AM} AS SELECT * FROM a WITH NO DATA; CREATE UNIQUE INDEX ON t (id);
		REFRESH MATERIALIZED VIEW t;
		UPDATE a SET v = v || 'new' WHERE id < 100; REFRESH MATERIALIZED VIEW CONCURRENTLY t;},

	# Sequences: the marker is in the table, the number is searched below.
	serial => q{CREATE TABLE t (id serial, v text) USING {AM}; INSERT INTO t (v) SELECT v FROM ({ROWS}) x; SELECT setval('t_id_seq', {N});},
	identity => q{CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, v text) USING {AM};
		INSERT INTO t (v) SELECT v FROM ({ROWS}) x; SELECT setval('t_id_seq', {N});},
	add_identity => $table . q{ALTER TABLE t ADD n bigint GENERATED BY DEFAULT AS IDENTITY; SELECT setval('t_n_seq', {N});},
	sequence_owned_by => $table . q{CREATE SEQUENCE s; SELECT setval('s', {N} - 5); ALTER SEQUENCE s OWNED BY t.id; SELECT setval('s', {N});},
	create_sequence_owned_by => $table . q{CREATE SEQUENCE s OWNED BY t.id; SELECT setval('s', {N});},
	truncate_restart_identity => q{CREATE TABLE t (id bigserial, v text) USING {AM}; INSERT INTO t (v) SELECT v FROM ({ROWS}) x;
		TRUNCATE t RESTART IDENTITY; INSERT INTO t (v) SELECT v FROM ({ROWS}) x; SELECT setval('t_id_seq', {N});},
	alter_sequence_type => q{CREATE TABLE t (id serial, v text) USING {AM}; INSERT INTO t (v) SELECT v FROM ({ROWS}) x;
		ALTER SEQUENCE t_id_seq AS bigint; SELECT setval('t_id_seq', {N});},
	serial_set_am => q{CREATE TABLE t (id bigserial, v text) USING heap; INSERT INTO t (v) SELECT v FROM ({ROWS}) x;
		ALTER TABLE t SET ACCESS METHOD {AM}; SELECT setval('t_id_seq', {N});},
);

my (@labels, %script, %marker, %number);
while (my ($label, $sql) = splice @paths, 0, 2)
{
	push @labels, $label;
	$script{$label} = $sql;
}
my $user = $node->safe_psql('postgres', 'SELECT current_user');

# A number below 2^31 that stands for a sequence's state.
sub number_for
{
	my ($label) = @_;
	return 1_000_000_000 + (unpack('N', Digest::MD5::md5($label)) % 1_000_000_000);
}

sub prepare
{
	my ($db, $label, $sql) = @_;
	$marker{"$db $label"} = TdeVault::marker("$db $label");
	$number{"$db $label"} = number_for("$db $label");
	$sql =~ s/\{ROWS\}/$rows/g;
	$sql =~ s/\{AM\}/$am{$db}/g;
	$sql =~ s/\{M\}/$marker{"$db $label"}/g;
	$sql =~ s/\{N\}/$number{"$db $label"}/g;
	$sql =~ s/\{S\}/${db}_$label/g;
	$sql =~ s/\{USER\}/$user/g;
	return $sql;
}

# Run every path in a schema of its own.
my %failed;
foreach my $db (sort keys %am)
{
	foreach my $label (@labels)
	{
		my $sql = prepare($db, $label, $script{$label});
		my ($rc, $out, $err) = $node->psql($db,
			"CREATE SCHEMA ${db}_$label;\nSET search_path = ${db}_$label;\n$sql\n");
		$failed{"$db $label"} = $err if $rc != 0;
	}
}

# Empty for long, then first written by another session, after a restart.
my $empty_sql = q{CREATE TABLE t (id int PRIMARY KEY, v text) USING {AM}; CREATE INDEX ON t USING gin ((ARRAY[v]));};
$node->safe_psql($_, "CREATE SCHEMA ${_}_empty_first; SET search_path = ${_}_empty_first;" . prepare($_, 'empty_first', $empty_sql))
  foreach sort keys %am;
$node->restart;
$node->safe_psql($_, "SET search_path = ${_}_empty_first;" . prepare($_, 'empty_first', 'INSERT INTO t {ROWS};'))
  foreach sort keys %am;

# Temporary tables: searched for while the sessions are open, with more rows
# than local buffers hold.
my %session;
my $temp_sql = q{CREATE TEMP TABLE tt (id int PRIMARY KEY, v text) USING {AM};
	INSERT INTO tt SELECT g, '{M}' || g FROM generate_series(1, 60000) g;
	CREATE INDEX ON tt (v);
	CREATE TEMP TABLE tw USING {AM} AS SELECT g AS id, repeat('{M}' || g, 200) AS v FROM generate_series(1, 500) g;
	TRUNCATE tw; INSERT INTO tw SELECT g, repeat('{M}' || g, 200) FROM generate_series(1, 500) g;};
foreach my $db (sort keys %am)
{
	$session{$db} = $node->background_psql($db);
	$session{$db}->query_safe(prepare($db, 'temporary', $temp_sql));
}
is( $session{vault}->query_safe('SELECT tde_vault.is_encrypted(\'tt\') AND tde_vault.is_encrypted(\'tt_pkey\')'),
	't', 'temporary: table and index are encrypted');
my @temp_files = split /\n/, $session{vault}->query_safe(
	q{SELECT pg_relation_filepath(c) FROM unnest('{tt,tt_pkey,tt_v_idx,tw}'::regclass[]) c});
my $found = $node->find_markers(
	{ vault => $marker{'vault temporary'}, plain => $marker{'plain temporary'} });
is("@{ $found->{vault} }", '', 'temporary: no file holds the marker');
is("@{ $found->{plain} }", '', 'temporary: nor that of a database without the extension');
$node->sealed_on_disk_ok($node->data_dir . "/$temp_files[0]", 'temporary: pages are ciphertext');
is($session{vault}->query_safe(
		q{SELECT (SELECT count(DISTINCT v) FROM tt), (SELECT count(DISTINCT v) FROM tw)}),
	'60000|500', 'temporary: rows are right');
$session{$_}->quit foreach keys %session;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'vault'}),
	'temporary: session ended');
is(join(' ', grep { -e $node->data_dir . "/$_" } @temp_files), '', 'temporary: files are gone with the session');

# Single-user mode.
$node->stop_clean;
foreach my $db (sort keys %am)
{
	my $sql = prepare($db, 'single_user',
		"CREATE SCHEMA {S};\nCREATE TABLE {S}.t (id int PRIMARY KEY, v text) USING {AM};\n"
		. "INSERT INTO {S}.t {ROWS};\nCREATE INDEX ON {S}.t (v);\n");
	local %ENV = $node->_get_env();
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, $db ], '<', \$sql, '>', \$out, '2>', \$err);
	ok($ok && $err !~ /ERROR|FATAL|PANIC/, "single_user: ran in $db") or diag($err);
}
$node->start;

# Each path's files, as the extension sees them, against the catalogs.
my $files_of = q{
	WITH direct AS (SELECT c.oid, c.reltoastrelid FROM pg_class c
			WHERE c.relnamespace = '%1$s'::regnamespace AND c.relkind IN ('r', 'm', 'i', 'S')),
		 files AS (SELECT oid FROM direct
			UNION SELECT reltoastrelid FROM direct WHERE reltoastrelid <> 0
			UNION SELECT i.indexrelid FROM pg_index i JOIN direct ON i.indrelid = direct.reltoastrelid)
	SELECT count(*) > 0, coalesce(string_agg(oid::regclass::text, ' ') FILTER (WHERE NOT tde_vault.is_encrypted(oid::regclass)), '-')
	FROM files};
my $count_rows = q{
	SELECT coalesce(sum((xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %%s', c.oid::regclass), false, true, '')))[1]::text::int), 0)
	FROM pg_class c WHERE c.relnamespace = '%1$s'::regnamespace AND c.relkind IN ('r', 'm')};
my @all = (@labels, 'empty_first', 'single_user');
my (%encrypted, %rows);
foreach my $label (@all)
{
	my ($rc, $out, $err) = $node->psql('vault', sprintf($files_of, "vault_$label"));
	$encrypted{$label} = $rc == 0 ? $out : $err;
	($rc, $rows{"$_ $label"}, $err) = $node->psql($_, sprintf($count_rows, "${_}_$label")) foreach sort keys %am;
}
$node->verify_ok('verify is clean for everything', db => 'vault', min => 100);

# Search.  Unlogged relations are written by the shutdown.
$node->stop_clean;
delete $marker{'vault temporary'};
delete $marker{'plain temporary'};
$found = $node->find_markers(\%marker);

# The log rightly holds what was written while a table was plain, and (until
# statistics are sealed) what ANALYZE found in a materialised view.
foreach my $label (qw(set_am_heap_to_vault set_am_round_trip serial_set_am matview_refresh))
{
	@{ $found->{"vault $label"} } = grep { !m{^pg_wal/} } @{ $found->{"vault $label"} };
}

foreach my $label (@all)
{
	subtest $label => sub {
		is($failed{"$_ $label"}, undef, "ran in $_") foreach sort keys %am;
		is($encrypted{$label}, 't|-', 'every file is encrypted');
		is($rows{"vault $label"}, $rows{"plain $label"}, 'as many rows as in a plain database');
		is("@{ $found->{\"vault $label\"} }", '', 'no file holds the marker');
		isnt("@{ $found->{\"plain $label\"} }", '', 'the control is found');
	};
}

# Sequences: a sequence tuple starts with last_value, 8 bytes little-endian.
$node->start;
foreach my $label (grep { $script{$_} =~ /\{N\}/ } @labels)
{
	my ($rel) = $script{$label} =~ /setval\('(\w+)', \{N\}\)/;
	my %has;
	foreach my $db (sort keys %am)
	{
		my $path = $node->relation_path("${db}_$label.$rel", db => $db);
		$has{$db} = index(slurp_file($path), pack('Q<', $number{"$db $label"})) >= 0 ? 1 : 0;
	}
	is_deeply(\%has, { vault => 0, plain => 1 }, "$label: sequence state is sealed, and is found in the control");
	$node->sql_is("SELECT last_value FROM vault_$label.$rel", $number{"vault $label"}, "$label: sequence reads back", db => 'vault');
}

# The other way: SET ACCESS METHOD heap takes the encryption off, and
# everything stays readable.
$node->safe_psql('vault', "CREATE SCHEMA off; SET search_path = off; CREATE TABLE t USING tde_heap AS SELECT g AS id, 'v' || g AS v FROM generate_series(1, 300) g;"
	. 'CREATE INDEX t_v ON t (v); ALTER TABLE t SET ACCESS METHOD heap;');
$node->sql_is(q{SELECT tde_vault.is_encrypted('off.t'), tde_vault.is_encrypted('off.t_v'), count(*) FROM off.t},
	'f|f|300', 'SET ACCESS METHOD heap: table and index are plain', db => 'vault');

# CREATE DATABASE with a template that holds encrypted files.
$node->safe_psql('postgres', 'CREATE DATABASE vault_copy TEMPLATE vault STRATEGY wal_log');
$node->sql_is(sprintf($files_of, 'vault_create_default_am'), 't|-', 'CREATE DATABASE, WAL_LOG: files are encrypted', db => 'vault_copy');
$node->sql_is('SELECT count(DISTINCT v) FROM vault_create_default_am.t', '300', 'CREATE DATABASE, WAL_LOG: rows are there', db => 'vault_copy');
$node->safe_psql('vault_copy', 'INSERT INTO vault_create_default_am.t SELECT id + 1000, v || 1000 FROM vault_create_default_am.t');
$node->verify_ok('CREATE DATABASE, WAL_LOG: verify is clean', db => 'vault_copy', min => 100);

my ($rc, $out, $err) = $node->psql('postgres', 'CREATE DATABASE vault_copy2 TEMPLATE vault STRATEGY file_copy');
if ($rc == 0)
{
	$node->sql_is('SELECT count(DISTINCT v) FROM vault_create_default_am.t', '300', 'CREATE DATABASE, FILE_COPY: works', db => 'vault_copy2');
}
else
{
	like($err, qr/ERROR:.*HINT:/s, 'CREATE DATABASE, FILE_COPY: refused with a hint');
	$node->sql_is(q{SELECT count(*) FROM pg_database WHERE datname = 'vault_copy2'}, '0', 'CREATE DATABASE, FILE_COPY: nothing is left of it');
}
$node->stop_clean;
my %vault_markers = map { $_ => $marker{$_} } grep { /^vault/ } keys %marker;
$found = $node->find_markers(\%vault_markers);
is(join(' ', grep { !m{^pg_wal/} } map { @{ $found->{$_} } } sort keys %$found), '', 'CREATE DATABASE: no file holds a marker');
$node->start;
$node->safe_psql('postgres', 'DROP DATABASE vault_copy');

# DROP, and reuse of the same relfilenode, by a plain and an encrypted table.
my @kinds = ('heap', 'tde_heap');
$node->safe_psql('vault', 'CREATE TABLE public.doomed USING tde_heap AS SELECT g AS id FROM generate_series(1, 3000) g');
my $filenode = $node->safe_psql('vault', q{SELECT pg_relation_filenode('public.doomed')});
foreach my $kind (@kinds)
{
	# An OID is not given out again while a dead row of pg_class has it.
	$node->safe_psql('vault', 'DROP TABLE public.doomed');
	$node->safe_psql('vault', 'VACUUM pg_class');
	$node->stop_clean;
	system_or_bail('pg_resetwal', '-o', $filenode, '-D', $node->data_dir);
	$node->start;
	$node->safe_psql('vault', "CREATE TABLE public.doomed (id int) USING $kind; INSERT INTO public.doomed SELECT generate_series(1, 200)");
	$node->sql_is(q{SELECT pg_relation_filenode('public.doomed')}, $filenode, "reuse as $kind: same relfilenode", db => 'vault');
	$node->restart;
	$node->sql_is(q{SELECT tde_vault.is_encrypted('public.doomed'), count(*), sum(id) FROM public.doomed},
		($kind eq 'heap' ? 'f' : 't') . '|200|20100', "reuse as $kind: state and rows are right", db => 'vault');
}

$node->stop;
done_testing();
