# Encrypted tablespaces: what is put there is sealed whatever its access method,
# in files and in the log; after crashes, on a standby, and when it moves.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', streaming => 1);
my $located = $node->basedir . '/located';
mkdir $located or die;
my $plain = $node->basedir . '/plain';
mkdir $plain or die;
$node->safe_psql('postgres', "CREATE TABLESPACE enc LOCATION '$located' ENCRYPTION USING 'AES256'");
$node->safe_psql('postgres', "CREATE TABLESPACE own ENCRYPTION USING 'aes-256-xts' KEY_ID 'test_key'");
$node->safe_psql('postgres', "CREATE TABLESPACE pln LOCATION '$plain'");
my $own = $node->safe_psql('postgres', q{SELECT location FROM tde_vault.encrypted_tablespaces WHERE tablespace = 'own'});
is($own, Cwd::realpath($node->data_dir) . '_tablespaces/own', 'without LOCATION: beside the data directory');
is((stat $own)[2] & 07777, 0700, 'for nobody else');

# --- what is put there --------------------------------------------------------

# {T} tablespace, {M} marker; relations are called x...
my %objects = (
	table => q{CREATE TABLE x (id int, v text) USING heap TABLESPACE {T}; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g},
	toast => q{CREATE TABLE x (id int, v text) USING heap TABLESPACE {T}; ALTER TABLE x ALTER v SET STORAGE EXTERNAL; INSERT INTO x SELECT g, repeat('{M}', 400) FROM generate_series(1, 20) g},
	as_select => q{CREATE TABLE x USING heap TABLESPACE {T} AS SELECT '{M}'::text AS v FROM generate_series(1, 300)},
	default_tablespace => q{SET default_tablespace = {T}; CREATE TABLE x (id int PRIMARY KEY, v text UNIQUE) USING heap; INSERT INTO x SELECT g, '{M}' || g FROM generate_series(1, 300) g},
	index_of_a_plain_table => q{CREATE TABLE x (id int, v int) USING heap; INSERT INTO x SELECT g, g FROM generate_series(1, 300) g; CREATE INDEX xi ON x (('{M}'::text || v)) TABLESPACE {T}},
	gin => q{CREATE TABLE x (id int, v int) USING heap; INSERT INTO x SELECT g, g FROM generate_series(1, 300) g; CREATE INDEX xi ON x USING gin ((ARRAY['{M}'::text || v])) TABLESPACE {T}},
	gist => q{CREATE TABLE x (id int, v int) USING heap; INSERT INTO x SELECT g, g FROM generate_series(1, 300) g; CREATE INDEX xi ON x USING gist (textrange('{M}'::text || v, NULL)) TABLESPACE {T}},
	brin => q{CREATE TABLE x (id int, v int) USING heap; INSERT INTO x SELECT g, g FROM generate_series(1, 300) g; CREATE INDEX xi ON x USING brin (('{M}'::text || v)) TABLESPACE {T}},
	concurrently => q{CREATE TABLE x (id int, v int) USING heap; INSERT INTO x SELECT g, g FROM generate_series(1, 300) g; CREATE INDEX CONCURRENTLY xi ON x (('{M}'::text || v)) TABLESPACE {T}},
	materialised_view => q{CREATE MATERIALIZED VIEW x USING heap TABLESPACE {T} AS SELECT g AS id, '{M}'::text || g AS v FROM generate_series(1, 300) g; CREATE UNIQUE INDEX ON x (id); REFRESH MATERIALIZED VIEW x},
	unlogged => q{CREATE UNLOGGED TABLE x (id int, v text) USING heap TABLESPACE {T}; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g},
	set_logged => q{CREATE UNLOGGED TABLE x (id int, v text) USING heap TABLESPACE {T}; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g; ALTER TABLE x SET LOGGED},
	partition => q{CREATE TABLE x (id int, v text) PARTITION BY RANGE (id) TABLESPACE {T}; CREATE TABLE x1 PARTITION OF x FOR VALUES FROM (0) TO (1000) USING heap; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g},
	rewritten => q{CREATE TABLE x (id int, v text) USING heap TABLESPACE {T}; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g; VACUUM FULL x; ALTER TABLE x ALTER id TYPE bigint; CREATE INDEX xi ON x (id); CLUSTER x USING xi},
	truncated => q{CREATE TABLE x (id int, v text) USING heap TABLESPACE {T}; INSERT INTO x VALUES (1, 'old'); TRUNCATE x; INSERT INTO x SELECT g, '{M}' FROM generate_series(1, 300) g},
	temporary => q{SET temp_tablespaces = {T}; CREATE TEMP TABLE x (id int, v text) USING heap; SET temp_buffers = 100; INSERT INTO x SELECT g, repeat('{M}', 30) FROM generate_series(1, 3000) g; SELECT count(*) FROM x},
);

sub build
{
	my ($tablespace, $prefix) = @_;
	my %markers;
	my @sessions;
	foreach my $what (sort keys %objects)
	{
		my $sql = $objects{$what};
		$markers{$what} = TdeVault::marker("$prefix $what");
		# a literal in an expression is in the catalogs: built from two halves
		my ($a, $b) = (substr($markers{$what}, 0, 12), substr($markers{$what}, 12));
		$sql =~ s/\{T\}/$tablespace/g;
		$sql =~ s/'\{M\}'::text/half('$a', '$b')/g;
		$sql =~ s/'\{M\}'/half('$a', '$b')/g;
		$sql =~ s/\bx(1|i|)\b/${prefix}_${what}$1/g;
		# temporary ones live as long as their session
		my $session = $node->background_psql('postgres');
		$session->query_safe($_) foreach split /;\s*/, $sql;
		push @sessions, $session;
		next if $what eq 'temporary';
		$session->quit;
		pop @sessions;
	}
	# which writes out unlogged pages as well
	$node->safe_psql('postgres', $_) foreach 'CREATE DATABASE flush STRATEGY file_copy', 'DROP DATABASE flush';
	return (\%markers, @sessions);
}

$node->safe_psql('postgres', <<'SQL');
CREATE TYPE textrange AS RANGE (subtype = text);
CREATE FUNCTION half(a text, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN a || b; END';
SQL
my ($sealed, @s1) = build('enc', 'e');
my ($sealed_own, @s2) = build('own', 'o');
my ($control, @s3) = build('pln', 'p');
my $found = $node->find_markers({ map({ ("e $_" => $sealed->{$_}) } keys %$sealed),
	map({ ("o $_" => $sealed_own->{$_}) } keys %$sealed_own), map({ ("p $_" => $control->{$_}) } keys %$control) });
foreach my $what (sort keys %objects)
{
	is("@{ $found->{\"e $what\"} } @{ $found->{\"o $what\"} }", ' ', "$what: in no file, not in the log");
	# temporary tables are sealed everywhere
	if ($what eq 'temporary') { is("@{ $found->{\"p $what\"} }", '', "$what: sealed in an ordinary tablespace, too") }
	else { isnt("@{ $found->{\"p $what\"} }", '', "$what: found in an ordinary tablespace") }
}
$_->quit foreach @s1, @s2, @s3;
$node->sql_is(q{SELECT count(*), min(relation::text) FROM tde_vault.plaintext_files WHERE tablespace IN ('enc', 'own')}, '0|', 'nothing in them is plaintext');
$node->sql_is(q{SELECT string_agg(DISTINCT cipher, ' ' ORDER BY cipher) FROM tde_vault.encryption_status WHERE tablespace = 'own'}, 'aes-256-xts', 'the cipher of the tablespace');
$node->sql_is(q{SELECT count(*) FROM tde_vault.keys WHERE kind = 'table' AND wrapped_by <> 'test_key'}, '0', 'and its master key');

my $digest = q{SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT x::text t FROM e_table x UNION ALL SELECT md5(x::text) FROM e_toast x UNION ALL SELECT x::text FROM e_materialised_view x UNION ALL SELECT x::text FROM o_rewritten x UNION ALL SELECT x::text FROM e_partition x) x};
my $want = $node->safe_psql('postgres', $digest);
my $verify = q{SELECT sum(bad) || ' ' || sum(unsealed) || ' ' || (sum(sealed) > 100) FROM (SELECT DISTINCT relation FROM tde_vault.encryption_status WHERE relkind IN ('r', 'm')) r, LATERAL tde_vault.verify(r.relation)
	WHERE r.relation::text !~ '^p_'};
$node->safe_psql('postgres', 'REINDEX TABLE e_index_of_a_plain_table');
$node->sql_is("CHECKPOINT; $verify", '0 0 true', 'every page is sealed');

# --- in and out ---------------------------------------------------------------

my $moving = TdeVault::marker('moving');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE moving (id serial PRIMARY KEY, v text) USING heap;
INSERT INTO moving (v) SELECT '$moving' FROM generate_series(1, 1000);
CREATE INDEX moving_v ON moving (v);
ALTER TABLE moving SET TABLESPACE enc;
ALTER INDEX moving_v SET TABLESPACE enc;
ALTER INDEX moving_pkey SET TABLESPACE enc;
CHECKPOINT;
SELECT pg_switch_wal();
CHECKPOINT;
SQL
$node->sealed_on_disk_ok($node->relation_path($_), "$_: sealed where it went") foreach 'moving', 'moving_v', 'moving_id_seq';
$node->safe_psql('postgres', 'ALTER TABLE moving SET TABLESPACE pln; ALTER INDEX moving_v SET TABLESPACE pln; CHECKPOINT');
like(slurp_file($node->relation_path('moving')), qr/$moving/, 'plain where it came from');
$node->sql_is("SELECT count(*) FROM moving WHERE v = '$moving'; SET enable_seqscan = off; SELECT count(*) FROM moving WHERE v = '$moving'", "1000\n1000", 'with all rows');
$node->safe_psql('postgres', 'ALTER TABLE ALL IN TABLESPACE pln SET TABLESPACE enc; ALTER INDEX ALL IN TABLESPACE pln SET TABLESPACE enc; CHECKPOINT');
$node->sql_is(q{SELECT count(*) FROM tde_vault.plaintext_files WHERE tablespace IN ('enc', 'own')}, '0', 'ALTER TABLE ALL IN TABLESPACE');
$node->sql_is("SELECT count(*) FROM moving WHERE v = '$moving'; SELECT count(*) FROM p_toast", "1000\n20", 'with all rows');

# --- databases ------------------------------------------------------------------

# Not the home of one, whose catalogs would be in it.
$node->sql_fails($_, '0A000', qr/encrypted tablespace "enc" cannot be the default of a database/, $_)
  foreach 'CREATE DATABASE resident TABLESPACE enc', 'CREATE DATABASE resident TABLESPACE enc STRATEGY file_copy', 'ALTER DATABASE template1 SET TABLESPACE enc';

# Nor are files that are bound to their place moved raw with a database.
my $resident = TdeVault::marker('resident');
$node->create_database('mover');
$node->safe_psql('mover', <<"SQL");
CREATE TABLE inside (id serial PRIMARY KEY USING INDEX TABLESPACE enc, v text) USING heap TABLESPACE enc;
INSERT INTO inside (v) SELECT '$resident' || g FROM generate_series(1, 1000) g;
SQL
$node->sql_fails('ALTER DATABASE mover SET TABLESPACE pln', '0A000|55006', qr/cannot be moved to another tablespace: it holds encrypted tables/, 'ALTER DATABASE mover SET TABLESPACE');
$node->safe_psql('mover', 'ALTER TABLE ALL IN TABLESPACE enc SET TABLESPACE pg_default; ALTER INDEX ALL IN TABLESPACE enc SET TABLESPACE pg_default; DROP TABLE inside');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', 'DROP DATABASE mover');

# --- crashes ------------------------------------------------------------------

my $late = TdeVault::marker('late');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', "CREATE TABLESPACE lost ENCRYPTION USING 'AES256'");
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE late (id int PRIMARY KEY USING INDEX TABLESPACE lost, v text) USING heap TABLESPACE lost;
INSERT INTO late SELECT g, '$late' FROM generate_series(1, 1000) g;
SQL
my $lost = $node->safe_psql('postgres', q{SELECT location FROM tde_vault.encrypted_tablespaces WHERE tablespace = 'lost'});
$node->kill_postmaster;
File::Path::remove_tree($lost);
$node->start;
ok(-d $lost, 'recovery makes the directory of a tablespace without LOCATION');
$node->sql_is('SELECT count(*), min(v) FROM late', "1000|$late", 'and what was in it');
$node->sql_is($digest, $want, 'all else is there after a crash');
$node->safe_psql('postgres', "INSERT INTO late SELECT g, '$late' FROM generate_series(1001, 2000) g; CHECKPOINT");
is(join(' ', $node->find_marker(marker => $late)), '', 'sealed after a crash, too');
$node->sql_is($verify, '0 0 true', 'every page is sealed');

# --- a standby, promoted ------------------------------------------------------

$node->safe_psql('postgres', "CREATE TABLESPACE later LOCATION '" . $node->basedir . "/later'")
  if mkdir $node->basedir . '/later';
my @map = map { ('-T', "$_=" . $node->basedir . '/standby_' . ($_ =~ m{([^/]+)$})[0]) } $located, $own, $plain, $lost, $node->basedir . '/later';
$node->backup('base', backup_options => \@map);
my $standby = TdeVault->create_from_backup('standby', $node, 'base', has_streaming => 1);
$standby->start;
my $before = TdeVault::marker('before');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE before (id serial PRIMARY KEY, v text) USING heap TABLESPACE later;
INSERT INTO before (v) SELECT '$before' || g FROM generate_series(1, 3000) g;
CREATE INDEX before_v ON before (v);
CREATE TABLE outside (id int, v int) USING heap;
INSERT INTO outside SELECT g, g FROM generate_series(1, 2000) g;
CREATE INDEX outside_v ON outside (half(substr('$before', 1, 12), substr('$before', 13) || v)) TABLESPACE later;
ALTER TABLESPACE later ENABLE ENCRYPTION;
SQL
$node->poll_query_until('postgres', q{SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{before,before_v,outside_v,before_id_seq}'::regclass[]) r})
	or die 'the tablespace was not encrypted';
$node->safe_psql('postgres', 'CHECKPOINT');
$node->sealed_on_disk_ok($node->relation_path($_), "$_: encrypted in place with its tablespace") foreach qw(before before_v before_pkey outside_v);
is(join(' ', grep { !/^pg_wal/ } $node->find_marker(marker => $before)), '', 'no plaintext is left of it');
$node->sql_is("SELECT count(*), count(v) FROM before; SET enable_seqscan = off; SELECT count(*) FROM before WHERE v > ''; SELECT count(*) FROM outside WHERE half(substr('$before', 1, 12), substr('$before', 13) || v) > ''", "3000|3000\n3000\n2000", 'with all rows');
$node->sql_is("SELECT tde_vault.is_encrypted('outside')", 'f', 'a table elsewhere is left alone');
$node->safe_psql('postgres', "CREATE TABLE on_primary (v text) USING heap TABLESPACE later; INSERT INTO on_primary VALUES ('there')");
$node->wait_for_catchup($standby);
$standby->sql_is($digest, $want, 'a standby reads it');
$standby->sql_is('SELECT v FROM on_primary', 'there', 'also what is new');
$standby->promote;
my $after = TdeVault::marker('promoted');
$standby->safe_psql('postgres', <<"SQL");
CREATE TABLE on_standby (v text) USING heap TABLESPACE later;
INSERT INTO on_standby SELECT '$after' FROM generate_series(1, 100);
CREATE TABLE on_standby2 (v text) USING heap TABLESPACE enc;
INSERT INTO on_standby2 SELECT '$after' FROM generate_series(1, 100);
CHECKPOINT;
SQL
is(join(' ', $standby->find_marker(marker => $after)), '', 'promoted, it goes on sealing');
is(join(' ', grep { !/^pg_wal/ } $standby->find_marker(marker => $before)), '', 'what was encrypted in place is so on the standby');
$standby->sql_is($verify, '0 0 true', 'every page is sealed there');
$standby->sql_is(q{SELECT string_agg(tablespace, ' ' ORDER BY tablespace) FROM tde_vault.encrypted_tablespaces}, 'enc later lost own', 'it knows the tablespaces');
$standby->stop;

# --- dropped ------------------------------------------------------------------

$node->safe_psql('postgres', 'DROP TABLE late');
$node->safe_psql('postgres', 'DROP TABLESPACE lost');
$node->sql_is(q{SELECT string_agg(tablespace, ' ' ORDER BY tablespace), (SELECT count(*) FROM tde_vault.tablespace_scopes()) FROM tde_vault.encrypted_tablespaces}, 'enc later own|3', 'dropped, it is forgotten');
$node->crash;
$node->sql_is('SELECT count(*) FROM tde_vault.tablespace_scopes()', '3', 'also after a crash');

# A database made from one that has tables there: sealed under keys of its own.
$node->safe_psql('template1', 'SELECT 1');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
$node->sql_is($digest, $want, 'a copy of the database', db => 'copy');
$node->sql_is(q{SELECT count(*) FROM tde_vault.plaintext_files WHERE tablespace IN ('enc', 'own')}, '0', 'is sealed', db => 'copy');

done_testing();
