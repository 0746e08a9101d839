# Temporary files: what sorts, hashes, tuple stores, index builds and parallel
# workers write beyond work_mem, caught in the act.  The same statements run on
# a server without the module, where every one of them must be found.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use File::Find ();
use Time::HiRes ();

use constant UNIT   => 8192;
use constant STRIDE => 8192 + 32;

my $conf = <<'CONF';
work_mem = 64kB
hash_mem_multiplier = 1
maintenance_work_mem = 1MB
temp_buffers = 800kB
max_worker_processes = 8
max_parallel_workers_per_gather = 0
log_temp_files = 0
CONF
my $sealed = TdeVault->create('sealed', conf => $conf);
my $control = PostgreSQL::Test::Cluster->new('control');
$control->init;
$control->append_conf('postgresql.conf', "$conf\nautovacuum = off\n");
$control->start;

my $marker = TdeVault::marker('temporary');
foreach my $node ($sealed, $control)
{
	my $am = $node == $sealed ? 'tde_heap' : 'heap';
	$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION pause(i int, at int) RETURNS int LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS \$\$
BEGIN
	WHILE i = at AND (pg_stat_file('tv_go', true)).size IS NULL LOOP
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN i;
END \$\$;
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE FUNCTION pause_range(t text, i int, at int) RETURNS textrange LANGUAGE sql IMMUTABLE PARALLEL SAFE
	AS 'SELECT textrange(t, t, ''[]'') FROM pause(i, at)';
CREATE TABLE t (id int, v text) USING $am WITH (parallel_workers = 2);
INSERT INTO t SELECT g, '$marker' || md5(g::text) FROM generate_series(1, 20000) g;
CREATE TABLE t2 (id int, v text) USING $am WITH (parallel_workers = 2);
INSERT INTO t2 SELECT * FROM t;
SQL
}

foreach my $node ($sealed, $control)
{
	mkdir $node->basedir . '/space' or die;
	$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '" . $node->basedir . "/space'");
}

# Temporary files under the data directory, and their bytes.
sub temporary_files
{
	my ($node) = @_;
	my (@files, $bytes);

	File::Find::find({ follow_fast => 1, follow_skip => 2, no_chdir => 1, wanted => sub {
		push @files, $_ if m{/pgsql_tmp/} && -f $_;
	} }, $node->data_dir . '/base', $node->data_dir . '/pg_tblspc');
	$bytes += -s $_ // 0 foreach @files;
	return ($bytes // 0, @files);
}

# While temporary files of a statement are there: who finds the marker?
sub caught_ok
{
	my ($node, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($bytes) = temporary_files($node);
	my @found = @{ TdeVault::find_markers($node, { it => $marker })->{it} };
	my @temporary = grep { m{/pgsql_tmp/} } @found;

	if ($node == $control)
	{
		ok(@temporary > 0, "$what: found without the module ($bytes bytes)");
		return;
	}
	ok($bytes > 100_000, "$what: temporary files are there ($bytes bytes)");
	is("@found", '', "$what: not found in any file");
}

# Wait until the session sleeps in pause() and has written something.
sub wait_for_pause
{
	my ($node, $what) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	until ($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") > 0
		&& (temporary_files($node))[0] > 100_000)
	{
		die "$what was not caught" if time > $deadline;
		Time::HiRes::usleep(50_000);
	}
}

# [ name, settings, query of a cursor ]
my @cursors = (
	[ 'sort', '', 'SELECT id, v FROM t ORDER BY v' ],
	[ 'sort in a tablespace', 'SET temp_tablespaces = space', 'SELECT id, v FROM t ORDER BY v' ],
	[ 'sort, backward', '', 'SELECT id, v FROM t ORDER BY v DESC', 'SCROLL' ],
	[ 'hash join', 'SET enable_mergejoin = off; SET enable_nestloop = off', 'SELECT a.id, b.v FROM t a JOIN t2 b USING (v)' ],
	[ 'hash aggregate', 'SET enable_sort = off', 'SELECT min(id) AS id, v FROM t GROUP BY v' ],
	[ 'tuple store of a CTE', '', 'WITH c AS MATERIALIZED (SELECT id, v FROM t) SELECT c.id, c.v FROM c, (SELECT max(v) AS m FROM c) x WHERE v <= m' ],
	[ 'tuple store of a window', '', 'SELECT id, v || count(*) OVER () AS v FROM t' ],
	[ 'tuple store of a function', '', q{SELECT id, v FROM ROWS FROM (json_to_recordset((SELECT json_agg(json_build_object('id', id, 'v', v)) FROM t)) AS (id int, v text)) f} ],
	[ 'merge join with materialise', 'SET enable_hashjoin = off; SET enable_nestloop = off', 'SELECT a.id, b.v FROM (SELECT id, v, id % 2 AS k FROM t) a JOIN (SELECT v, 1 AS k FROM t2 WHERE id <= 2) b USING (k) ORDER BY a.v' ],
);

foreach my $case (@cursors)
{
	my ($what, $settings, $query, $scroll) = @$case;
	my @digest;

	$scroll //= 'NO SCROLL';
	foreach my $node ($sealed, $control)
	{
		my $session = $node->background_psql('postgres');
		$session->query_safe("$settings; BEGIN; DECLARE c $scroll CURSOR FOR $query");
		$session->query_safe('FETCH c');
		caught_ok($node, $what);
		# all of it, and for the one that can, back and forth
		my $rest = $session->query_safe('FETCH ALL FROM c');
		$rest .= $session->query_safe('FETCH BACKWARD 15000 FROM c; FETCH FORWARD 7000 FROM c; FETCH ABSOLUTE 123 FROM c; FETCH RELATIVE 3000 FROM c')
		  if $scroll eq 'SCROLL';
		$rest = join "\n", sort split /\n/, $rest if $scroll ne 'SCROLL' && $what =~ /hash/;
		push @digest, length($rest) . ' ' . Digest::MD5::md5_hex($rest);
		$session->query_safe('COMMIT');
		$session->quit;
	}
	is($digest[0], $digest[1], "$what: the same rows");
}

# Kept beyond the transaction.
foreach my $node ($sealed, $control)
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id, v FROM t; COMMIT');
	caught_ok($node, 'holdable cursor');
	$session->query_safe('MOVE FORWARD ALL FROM c');
	like($session->query_safe('FETCH ABSOLUTE 19999 FROM c'), qr/^19999\|$marker\w{32}$/, 'holdable cursor: the row');
	$session->quit;
}

# [ name, settings, statement that pauses, check afterwards ]
my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_maintenance_workers = 2';
my @statements = (
	[ 'parallel hash', "$parallel; SET enable_mergejoin = off; SET enable_nestloop = off; SET work_mem = '300kB'",
		q{SELECT count(*), md5(string_agg(a.v || b.v, ',' ORDER BY a.id)) FROM t a JOIN t2 b USING (id) WHERE pause(a.id, 15000) > 0} ],
	[ 'parallel sort', "$parallel; SET enable_hashjoin = off; SET enable_nestloop = off; SET enable_hashagg = off",
		q{SELECT count(*), md5(string_agg(v, ',' ORDER BY v)) FROM (SELECT v FROM t GROUP BY v HAVING pause(max(id), 15000) > 0) x} ],
	[ 'btree build', 'SET max_parallel_maintenance_workers = 0', q{CREATE INDEX i_btree ON t ((v || pause(id, 19990)))} ],
	[ 'parallel btree build', $parallel, q{CREATE INDEX i_parallel ON t ((v || pause(id, 19990)))} ],
	[ 'gist build', q{SET maintenance_work_mem = '8MB'; SET effective_cache_size = '64MB'},
		q{CREATE INDEX i_gist ON t USING gist (pause_range(v, id, 19990)) WITH (buffering = on)} ],
);
foreach my $case (@statements)
{
	my ($what, $settings, $statement) = @$case;
	my @result;

	foreach my $node ($sealed, $control)
	{
		my $session = $node->background_psql('postgres');
		unlink $node->data_dir . '/tv_go';
		$session->query_safe($settings) if $settings ne '';
		$session->query_until(qr/begun/, "\\echo begun\n$statement;\n");
		wait_for_pause($node, $what);
		caught_ok($node, $what);
		append_to_file($node->data_dir . '/tv_go', 'go');
		push @result, $session->query_safe('SELECT 1');
		$session->quit;
	}
	is($result[0], $result[1], "$what: the same result") unless $statement =~ /^CREATE/;
	unlike($result[0], qr/ERROR/, "$what: no error");
}
$sealed->sql_is("SET enable_seqscan = off; SELECT count(*) FROM t WHERE v || pause(id, 19990) >= ''", '20000', 'the btree indexes are right');
$sealed->sql_is("SET enable_seqscan = off; SET enable_indexonlyscan = off; SELECT count(*) FROM t WHERE pause_range(v, id, 19990) && textrange('$marker', NULL)", '20000', 'the GiST index is right');

# --- changed files ----------------------------------------------------------

# Sort, and have the one temporary file changed by $change before the rest is
# read.  Returns what the session says then.
sub after_change
{
	my ($change) = @_;
	my $session = $sealed->background_psql('postgres', on_error_stop => 0);
	$session->query("BEGIN; DECLARE c CURSOR FOR SELECT id, v FROM t ORDER BY v; FETCH c");
	my (undef, $path) = temporary_files($sealed);
	$change->($path);
	$session->{stderr} = '';
	my $out = $session->query('FETCH ALL FROM c');
	my $err = $session->{stderr};
	$session->query('ROLLBACK');
	$session->quit;
	return ($out, $err);
}

sub every_unit
{
	my ($path, $change) = @_;
	my $units = int((-s $path) / STRIDE);

	foreach my $unit (0 .. $units - 1)
	{
		my $old = $sealed->read_bytes($path, $unit * STRIDE, STRIDE);
		$sealed->write_bytes($path, $unit * STRIDE, $change->($old, $unit, $path));
	}
}

my %attacks = (
	'a flipped bit' => sub { my ($path) = @_; every_unit($path, sub { TdeVault::flip_bit($_[0], 32 + 4000) }) },
	'zeroed blocks' => sub { my ($path) = @_; every_unit($path, sub { "\0" x STRIDE }) },
	'blocks of another place' => sub {
		my ($path) = @_;
		my $last = $sealed->read_bytes($path, 0, STRIDE);
		every_unit($path, sub { my $old = $_[0]; my $new = $last; $last = $old; return $new });
	},
	'a cut file' => sub { my ($path) = @_; truncate($path, STRIDE + 100) or die "could not cut $path: $!" },
);
foreach my $attack (sort keys %attacks)
{
	my ($out, $err) = after_change($attacks{$attack});
	like($err, $attack eq 'a cut file' ? qr/unexpected end of|could not read block|cannot be decrypted/ : qr/temporary file "base\/pgsql_tmp\/pgsql_tmp[\d.]+" cannot be decrypted/,
		"$attack: an error");
}

# --- the server's accounts --------------------------------------------------

$sealed->sql_fails("SET temp_file_limit = '200kB'; SELECT count(*) FROM (SELECT v FROM t ORDER BY v OFFSET 1) x",
	'53400', qr/temporary file size exceeds temp_file_limit \(200kB\)/, 'temp_file_limit');
{
	my $session = $sealed->background_psql('postgres');
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT id, v FROM t ORDER BY v; FETCH c');
	my ($bytes) = temporary_files($sealed);
	is($session->query_safe('SELECT sum(size) FROM pg_ls_tmpdir()'), $bytes, 'pg_ls_tmpdir shows the bytes on disk');
	my $offset = $sealed->log_size;
	$session->query_safe('COMMIT');
	like(slurp_file($sealed->logfile, $offset), qr/temporary file: path "base\/pgsql_tmp\/[^"]*", size $bytes/, 'log_temp_files, too');
	$session->quit;
}

# --- left by a crash --------------------------------------------------------

foreach my $node ($sealed, $control)
{
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT id, v FROM t ORDER BY v; FETCH c');
	# the postmaster then stops: it is configured to, in tests
	kill 'KILL', $session->query_safe('SELECT pg_backend_pid()');
	$session->{run}->finish;
	TdeVault::wait_for_processes_gone($node);
	$node->{_pid} = undef;
	caught_ok($node, 'left by a crash');
	$node->start;
	is((temporary_files($node))[0], 0, 'a start removes them');
}
$sealed->sql_is('SELECT count(*) FROM (SELECT v FROM t ORDER BY v OFFSET 0) x', '20000', 'and sorting goes on with another key');

done_testing();
