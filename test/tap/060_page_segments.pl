# Relations beyond one segment of 1 GB, truncation and re-extension across
# the boundary, tablespaces, and what DROP leaves behind (nothing).

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

# With wal_level minimal, a table filled by the transaction that made it is
# not logged: 1 GB costs a second or two.
my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
shared_buffers = 64MB
maintenance_work_mem = 256MB
wal_skip_threshold = 0
checkpoint_timeout = 1h
CONF
my $tablespace = $node->basedir . '/ts';
mkdir $tablespace or die;
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$tablespace'");

my $boundary = TdeVault::SEGMENT_BLOCKS;
my $over     = 300;                       # blocks in the second segment
my $cut      = 1500;                      # VACUUM does not bother for less than 1000
my $wide     = 8000;                      # one row a block

sub fill_sql
{
	my ($from, $to) = @_;
	return "SELECT g, g::text || repeat('s', $wide - 10) FROM generate_series($from, $to) g";
}

# Blocks on both sides of the boundary hold their rows.
sub boundary_ok
{
	my ($name, $last) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $from = $boundary - 2;
	my $want = join ',', map { $_ + 1 } $from .. ($last < $boundary + 2 ? $last : $boundary + 2);
	$node->sql_is("SELECT string_agg(id::text, ',' ORDER BY ctid) FROM big WHERE ctid >= '($from,0)' AND ctid <= '($boundary,99)'::tid OR ctid = ANY ('{\"($boundary,1)\",\"(@{[$boundary + 1]},1)\",\"(@{[$boundary + 2]},1)\"}')",
		$want, "$name: rows on both sides of the boundary");
	return;
}

$node->safe_psql('postgres', <<"SQL");
BEGIN;
CREATE TABLE big (id int, v text);
ALTER TABLE big ALTER v SET STORAGE PLAIN;
INSERT INTO big @{[ fill_sql(1, $boundary + $over) ]};
COMMIT;
SQL
my $path    = $node->relation_path('big');
my $sidecar = $node->sidecar_path('big');
is(-s $path, $boundary * TdeVault::BLCKSZ, 'the first segment is full');
is(-s "$path.1", $over * TdeVault::BLCKSZ, 'the second has the rest');
ok(-s $sidecar >= TdeVault::SIDECAR_HEADER + $boundary * TdeVault::SIDECAR_ENTRY, 'the first sidecar has an entry a block');
ok(-s "$sidecar.1" >= TdeVault::SIDECAR_HEADER + $over * TdeVault::SIDECAR_ENTRY, 'so has the second');
boundary_ok('filled', $boundary + $over);
$node->verify_ok('filled: verify is clean');
$node->sealed_on_disk_ok("$path.1", 'the second segment is ciphertext');
$node->sql_is('SELECT count(*) FROM big', $boundary + $over, 'filled: all rows');

# Truncation below the boundary by VACUUM.  Deleting by TID range is cheap.
$node->safe_psql('postgres', "DELETE FROM big WHERE ctid >= '(@{[$boundary - $cut]},0)'; VACUUM (TRUNCATE, INDEX_CLEANUP OFF) big");
is($node->safe_psql('postgres', q{SELECT pg_relation_size('big') / 8192}), $boundary - $cut, 'vacuum cut the table below the boundary');
is(-s "$path.1" // 0, 0, 'nothing is left in the second segment');
ok((-s "$sidecar.1" // 0) <= TdeVault::SIDECAR_HEADER, 'nor in its sidecar');
$node->verify_ok('truncated: verify is clean');

# Crash here: replay truncates again.
$node->safe_psql('postgres', fill_insert($boundary - $cut + 1, $boundary + 40));
$node->stop('immediate');
$node->start;
boundary_ok('re-extended, after a crash', $boundary + 40);
$node->verify_ok('re-extended: verify is clean');
$node->safe_psql('postgres', "DELETE FROM big WHERE ctid >= '(@{[$boundary - $cut]},0)'; VACUUM (TRUNCATE, INDEX_CLEANUP OFF) big");
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{SELECT pg_relation_size('big') / 8192}), $boundary - $cut, 'a crash after the truncation');
$node->safe_psql('postgres', fill_insert($boundary - $cut + 1, $boundary + 20));
boundary_ok('re-extended again', $boundary + 20);
$node->sql_is('SELECT count(*), count(DISTINCT id) FROM big', ($boundary + 20) . '|' . ($boundary + 20), 'no row is lost or doubled');
$node->verify_ok('re-extended again: verify is clean');

sub fill_insert { return 'INSERT INTO big ' . fill_sql(@_) . ';'; }

# DROP removes every file, at the next checkpoint at the latest.
$node->safe_psql('postgres', 'DROP TABLE big; CHECKPOINT');
is(join(' ', grep { -e } map { ($_, "$_.1", "${_}_fsm", "${_}_vm") } $path, $sidecar), '', 'DROP removes files and sidecars');

# Tablespaces: sidecars are made, moved and removed with their relation.
$node->safe_psql('postgres', 'CREATE TABLE moved (id int PRIMARY KEY, v text); INSERT INTO moved SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 3000) g');
my @before = ($node->relation_path('moved'), $node->sidecar_path('moved'));
$node->safe_psql('postgres', 'ALTER TABLE moved SET TABLESPACE ts; ALTER INDEX moved_pkey SET TABLESPACE ts; CHECKPOINT');
my @after = ($node->relation_path('moved'), $node->sidecar_path('moved'));
is(join(' ', grep { -e } @before), '', 'SET TABLESPACE: old file and sidecar are gone');
is(scalar(grep { -s } @after), 2, 'SET TABLESPACE: new file and sidecar are there');
isnt(dirname_of($before[1]), dirname_of($after[1]), 'SET TABLESPACE: the sidecar is kept by tablespace');
$node->sql_is('SELECT count(*), sum(length(v)) FROM moved', '3000|1920000', 'SET TABLESPACE: rows are there');
$node->verify_ok('SET TABLESPACE: verify is clean', min => 2);
$node->restart;
$node->sql_is('SELECT count(*) FROM moved WHERE id > 0', '3000', 'SET TABLESPACE: and after a restart');

sub dirname_of { my ($p) = @_; $p =~ s{/[^/]*$}{}; return $p; }

# ROLLBACK of a create, DROP in a transaction that rolls back, DROP DATABASE.
my $count = sub {
	my $n = 0;
	my $top = $node->data_dir . '/tde_vault/sidecar';
	File::Find::find({ wanted => sub { $n++ if -f }, no_chdir => 1 }, $top) if -d $top;
	return $n;
};
$node->safe_psql('postgres', 'CHECKPOINT');
my $files = $count->();
cmp_ok($files, '>', 0, 'there are sidecars to count');
$node->safe_psql('postgres', 'BEGIN; CREATE TABLE never AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 2000) g; CREATE INDEX ON never (v); ROLLBACK; CHECKPOINT');
is($count->(), $files, 'a table whose creation is rolled back leaves no sidecar');
$node->safe_psql('postgres', 'BEGIN; DROP TABLE moved; ROLLBACK; BEGIN; TRUNCATE moved; ROLLBACK; CHECKPOINT');
$node->sql_is('SELECT count(*) FROM moved', '3000', 'DROP and TRUNCATE rolled back: rows are there');
is($count->(), $files, 'and as many sidecars');
my $keys = $node->safe_psql('postgres', 'SELECT count(*) FROM tde_vault.encryption_status');
$node->create_database('short_lived');
$node->safe_psql('short_lived', 'CREATE TABLE a AS SELECT g AS id FROM generate_series(1, 1000) g; CREATE TABLE b TABLESPACE ts AS SELECT 1 AS x');
cmp_ok($count->(), '>', $files, 'another database has sidecars too');
$node->safe_psql('postgres', 'DROP DATABASE short_lived');
$node->safe_psql('postgres', 'CHECKPOINT');
is($count->(), $files, 'DROP DATABASE removes sidecars');
$node->safe_psql('postgres', 'DROP TABLE moved; CHECKPOINT');
$node->sql_is(q{SELECT count(*) FROM tde_vault.encryption_status WHERE relation::oid >= 16384}, '0', 'all tables are gone');
is($count->(), 6, 'none is left, but for the statistics (two catalogs, one TOAST table, their indexes)');
$node->restart;
$node->safe_psql('postgres', 'DROP TABLESPACE ts');
pass('the tablespace is empty');

$node->stop;
done_testing();
