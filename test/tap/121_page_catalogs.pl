# All catalogs of a database, sealed when that is asked for: what they hold is
# in no file any more, and they stay sealed through every rewrite; while their
# key is away that database cannot be used, and all others can.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => "max_prepared_transactions = 5\n");
$node->create_database('d');
my $dboid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'd'});
my $plain = q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND reason <> 'system catalog, shared by all databases'};

# One marker in each kind of catalog row that can hold what somebody typed.
my %rows = (
	pg_proc => q{CREATE FUNCTION %N() RETURNS text LANGUAGE sql AS $$SELECT '%M'$$},
	pg_proc_toast => q{DO $d$ BEGIN EXECUTE format('CREATE FUNCTION %N() RETURNS text LANGUAGE plpgsql AS %L', '/*' || (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 200) g) || '*/ BEGIN RETURN ''%M''; END'); END $d$},
	pg_description => q{CREATE TABLE %N (i int); COMMENT ON TABLE %N IS '%M'},
	pg_constraint => q{CREATE TABLE %N (t text CONSTRAINT %M CHECK (t <> ''))},
	pg_rewrite => q{CREATE VIEW %N AS SELECT '%M' AS %M},
	pg_trigger => q{CREATE TABLE %N (t text); CREATE FUNCTION f_%N() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER x AFTER INSERT ON %N FOR EACH ROW EXECUTE FUNCTION f_%N('%M')},
	pg_policy => q{CREATE TABLE %N (t text); CREATE POLICY %M ON %N USING (true)},
	pg_user_mapping => q{CREATE FOREIGN DATA WRAPPER w_%N; CREATE SERVER s_%N FOREIGN DATA WRAPPER w_%N; CREATE USER MAPPING FOR CURRENT_USER SERVER s_%N OPTIONS (password '%M')},
	pg_foreign_server => q{CREATE FOREIGN DATA WRAPPER w_%N; CREATE SERVER s_%N FOREIGN DATA WRAPPER w_%N OPTIONS (host '%M')},
	pg_enum => q{CREATE TYPE %N AS ENUM ('%M')},
	pg_type => q{CREATE DOMAIN %M AS int},
	pg_class => q{CREATE TABLE %M (i int)},
	pg_attribute => q{CREATE TABLE %N (%M int)},
	pg_largeobject => q{SELECT lo_from_bytea(0, convert_to(repeat('%M', 50), 'UTF8'))},
	pg_statistic_ext => q{CREATE TABLE %N (a int, b int); CREATE STATISTICS %M ON a, b FROM %N},
	pg_collation => q{CREATE COLLATION %M FROM "C"},
	pg_publication => q{CREATE PUBLICATION %M},
);

# A constant in an expression is stored as the numbers of its bytes.
my $constant = TdeVault::marker('constant');
$node->safe_psql('d', "CREATE TABLE constants (t text DEFAULT '$constant' CHECK (t <> '$constant')); CREATE INDEX ON constants (t) WHERE t <> '$constant'; CREATE POLICY p ON constants USING (t <> '$constant')");
sub with_constant
{
	my $numbers = join ' ', unpack('C*', $constant);
	my $files = join ' ', $node->safe_psql('postgres', 'CHECKPOINT'), grep { slurp_file($_) =~ /$numbers/ } glob($node->data_dir . "/base/$dboid/*");
	return scalar(() = $files =~ m{/\d+(?= |$)}g);
}

sub make_rows
{
	my ($prefix) = @_;
	my %marker;
	foreach my $what (sort keys %rows)
	{
		my $marker = $marker{$what} = TdeVault::marker("$prefix $what");
		$node->safe_psql('d', $rows{$what} =~ s/%M/$marker/gr =~ s/%N/${prefix}_$what/gr);
	}
	$node->safe_psql('d', 'CHECKPOINT; SELECT pg_switch_wal(); CHECKPOINT');
	return \%marker;
}

# Where they are: in the database's own directory, or anywhere.
sub where_found
{
	my ($markers, $re) = @_;
	my $found = $node->find_markers($markers);
	return { map { my $what = $_; $what => join ' ', grep { $_ =~ $re } @{ $found->{$what} } } keys %$found };
}

# --- before ------------------------------------------------------------------

my $old = make_rows('old');
my $before = where_found($old, qr{^base/$dboid/});
isnt($before->{$_}, '', "$_: found in plaintext before") foreach sort keys %rows;
is(with_constant(), 4, 'pg_attrdef, pg_constraint, pg_index, pg_policy: an expression, too');

$node->sql_fails('BEGIN; CALL tde_vault.seal_catalogs()', '25001', qr/cannot run inside a transaction block/, 'not in a transaction block', db => 'd');
$node->sql_fails('DO $$ BEGIN CALL tde_vault.seal_catalogs(); EXCEPTION WHEN division_by_zero THEN NULL; END $$', '25001', qr/cannot run inside a (?:subtransaction|transaction block)/, 'not in a subtransaction', db => 'd');
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE keeper LOGIN SUPERUSER');
$node->sql_fails('CALL tde_vault.seal_catalogs()', '42501', qr/permission denied/, 'not by everybody', db => 'd', extra => [ '-U', 'nobody' ]);
$node->safe_psql('postgres', 'CREATE DATABASE nokey TEMPLATE template0');
$node->safe_psql('nokey', 'CREATE EXTENSION tde_vault');
$node->sql_fails('CALL tde_vault.seal_catalogs()', 'TV003', [ qr/has no master key/, qr/CREATE MASTER KEY/ ], 'not without a master key', db => 'nokey');

# --- sealed ------------------------------------------------------------------

my ($rc, $out, $err) = $node->psql('d', 'CALL tde_vault.seal_catalogs()');
like("$rc $err", qr/^0 .*NOTICE:  the system catalogs of database "d" are encrypted\n.*5\d of 5\d were written anew/s, 'all catalogs are sealed');
$node->sql_is($plain, '0', 'no plaintext file is left', db => 'd');
$node->sql_is(q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND path NOT LIKE 'global/%'}, '0', 'but shared ones', db => 'd');
$node->sql_is(q{SELECT bool_and(tde_vault.is_encrypted(oid)) FROM pg_class WHERE relkind = 'r' AND NOT relisshared AND oid < 16384}, 't', 'is_encrypted() says so', db => 'd');
($rc, $out, $err) = $node->psql('d', 'CALL tde_vault.seal_catalogs()');
like("$rc $err", qr/^0 .* 0 of 5\d were written anew/s, 'again: nothing to do');
$node->safe_psql('d', 'CHECKPOINT');
my $after = where_found($old, qr{^base/$dboid/});
is($after->{$_}, '', "$_: in no file after") foreach sort keys %rows;
is(with_constant(), 0, 'nor is that of expressions');
my $new = make_rows('new');
$after = where_found($new, qr/./);
is($after->{$_}, '', "$_: new ones are in no file, not in the log") foreach sort keys %rows;
$node->verify_ok('every page of them', db => 'd', min => 55);

# --- they work, and stay so --------------------------------------------------

my $works = q{SELECT old_pg_proc() = '} . $old->{pg_proc} . q{', new_pg_proc_toast() = '} . $new->{pg_proc_toast} . q{', (SELECT v.* FROM old_pg_rewrite v) = '} . $old->{pg_rewrite} . q{', (SELECT count(*) FROM pg_largeobject WHERE position(convert_to('} . $old->{pg_largeobject} . q{', 'UTF8') IN data) > 0)};
$node->sql_is($works, 't|t|t|1', 'they work', db => 'd');
$node->safe_psql('d', $_) foreach 'VACUUM FULL', 'REINDEX SYSTEM d', 'CLUSTER pg_class USING pg_class_oid_index', 'CLUSTER pg_attribute USING pg_attribute_relid_attnum_index', 'VACUUM', 'ANALYZE', 'VACUUM FULL pg_toast.pg_toast_1255', 'VACUUM FULL pg_toast.pg_toast_2619', 'REINDEX TABLE pg_class', 'REINDEX INDEX pg_type_oid_index', 'VACUUM FREEZE pg_class', 'REINDEX DATABASE d';
$node->safe_psql('d', 'BEGIN; CLUSTER pg_proc USING pg_proc_oid_index; ROLLBACK');
$node->sql_is($plain, '0', 'sealed after every rewrite', db => 'd');
$node->safe_psql('d', 'CHECKPOINT');
$after = where_found({ (map { ("new $_" => $new->{$_}) } keys %$new), (map { ("old $_" => $old->{$_}) } keys %$old) }, qr{^base/});
is(join(' ', grep { $after->{$_} ne '' } sort keys %$after), '', 'in no file after them');
$node->sql_is($works, 't|t|t|1', 'they work after them', db => 'd');
$node->verify_ok('every page after them', db => 'd', min => 55);
$node->safe_psql('d', 'BEGIN; CREATE TABLE two (i int); PREPARE TRANSACTION \'p\'');
$node->crash;
$node->safe_psql('d', 'COMMIT PREPARED \'p\'');
$node->sql_is('SELECT count(*) FROM two', '0', 'a crash', db => 'd');
$node->sql_is($works, 't|t|t|1', 'they work after a crash', db => 'd');

# --- copies ------------------------------------------------------------------

$node->sql_fails('CREATE DATABASE raw TEMPLATE d STRATEGY file_copy', '0A000', qr/cannot copy database "d"/, 'no raw copy');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE d');
$node->sql_is($works, 't|t|t|1', 'a copy of the database works', db => 'copy');
$node->sql_is($plain, '0', 'and is sealed', db => 'copy');
$node->sql_is(q{SELECT count(*) FROM (SELECT "table" FROM tde_vault.keys WHERE kind = 'table' AND database = (SELECT oid FROM pg_database WHERE datname = 'copy') AND "table" = 'pg_class'::regclass) k}, '1', 'with keys of its own', db => 'copy');
$node->safe_psql('d', 'CHECKPOINT');
$after = where_found($old, qr{^base/});
is(join(' ', grep { $after->{$_} ne '' } sort keys %$after), '', 'in no file of it');

# --- somebody who can write files ---------------------------------------------

# All catalogs share a key; a page is still only good where it belongs.
{
	my @path = map { $node->relation_path($_, db => 'd') } 'pg_proc', 'pg_attribute';
	my @sidecar = map { $node->sidecar_path($_, db => 'd') } 'pg_proc', 'pg_attribute';
	my $plain_proc = $node->relation_path('pg_proc');
	$node->stop;
	my @page = map { $node->read_page($_, 3) } @path;
	my @entry = map { $node->read_entry($_, 3) } @sidecar;
	foreach (
		[ 'a page of another catalog', $page[1], $entry[1], qr/authentication tag verification failed/ ],
		[ 'a changed bit', TdeVault::flip_bit($page[0], 5000), $entry[0], qr/authentication tag verification failed/ ],
		[ 'a plain page', $node->read_page($plain_proc, 3), $entry[0], qr/page of an encrypted relation is not encrypted/ ])
	{
		my ($what, $bad, $with, $error) = @$_;
		$node->write_page($path[0], 3, $bad);
		$node->write_entry($sidecar[0], 3, $with);
		$node->start;
		$node->sql_fails('SELECT sum(length(prosrc)) FROM pg_proc', 'XX001|\?{5}', $error, "$what is refused", db => 'd');
		$node->stop;
	}
	$node->write_page($path[0], 3, $page[0]);
	$node->write_entry($sidecar[0], 3, $entry[0]);
	$node->start;
	$node->sql_is($works, 't|t|t|1', 'put back', db => 'd');
}

# --- the key is away ---------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0; CREATE DATABASE gone TEMPLATE d');
$node->safe_psql('other', 'CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g');
$node->stop;
$node->hide_token;
$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_threshold = 10\nautovacuum_vacuum_scale_factor = 0\n");
$node->start;
$node->sql_is('SELECT count(*) FROM t', '1000', 'another database is there', db => 'other');
my $away = qr/The system catalogs of database $dboid are encrypted: it cannot be used until their keys can be had/;
$node->sql_fails('SELECT 1', 'TV00[1-3]|\?{5}', $away, 'this one is not, and says why', db => 'd');
unlink(glob($node->data_dir . "/base/$dboid/pg_internal.init"));
$node->sql_fails('SELECT 1', 'TV00[1-3]|\?{5}', $away, 'also without the file of the relation cache', db => 'd');
$node->safe_psql('other', 'DELETE FROM t');
ok($node->poll_query_until('other', q{SELECT autovacuum_count > 0 FROM pg_stat_user_tables WHERE relname = 't'}), 'autovacuum goes on elsewhere');
$node->sql_fails('CREATE DATABASE copy2 TEMPLATE d', 'TV00[1-3]', qr/./, 'no copy of it is made');
$node->safe_psql('postgres', 'DROP DATABASE gone');
$node->safe_psql('other', 'CREATE TABLE more (i int); CHECKPOINT');
$node->restart;
$node->sql_is('SELECT count(*) FROM more', '0', 'the server stops and starts', db => 'other');
$node->restore_token;
ok($node->poll_query_until('d', $works, 't|t|t|1'), 'and when the key is back, the database is');
$node->append_conf('postgresql.conf', "autovacuum = off\n");
$node->reload;

# --- single-user mode --------------------------------------------------------

$node->stop;
{
	local %ENV = $node->_get_env();
	my $said = '';
	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'd' ], '<', \ "SELECT old_pg_proc()\n", '>', \$said, '2>', \my $errors);
	like($said, qr/$old->{pg_proc}/, 'single-user mode');
}
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE owned TEMPLATE template0');
$node->safe_psql('owned', $_, extra_params => [ '-U', 'keeper' ]) foreach 'CREATE EXTENSION tde_vault', q{CALL tde_vault.create_master_key('owned')}, 'CALL tde_vault.seal_catalogs()';

# --- the extension goes ------------------------------------------------------

$node->sql_fails('DROP EXTENSION tde_vault CASCADE', '2BP01', [ qr/system catalogs of this database are encrypted/, qr/unseal_catalogs/ ], 'the extension cannot be dropped', db => 'copy');
$node->sql_fails('DROP OWNED BY keeper CASCADE', '2BP01', qr/system catalogs of this database are encrypted/, 'nor with its owner', db => 'owned');
$node->safe_psql('postgres', 'DROP DATABASE owned');
$node->sql_fails('ALTER DATABASE copy SET TABLESPACE pg_default', '0A000', qr/cannot be moved/, 'the database cannot be moved');
$node->create_master_key('copy', 'key_copy');
$node->safe_psql('copy', 'CREATE TABLE enc (i int) USING tde_heap');
($rc, $out, $err) = $node->psql('copy', 'CALL tde_vault.unseal_catalogs()');
like("$rc $err", qr/^0 .*HINT:  The planner's statistics stay encrypted/s, 'unsealed');
$node->sql_is(q{SELECT count(*) > 100 FROM tde_vault.plaintext_files WHERE reason = 'system catalog'}, 't', 'catalogs are plain again', db => 'copy');
$node->sql_is(q{SELECT tde_vault.is_encrypted('pg_statistic')}, 't', 'statistics are not, while a table is encrypted', db => 'copy');
$node->safe_psql('copy', 'DROP TABLE enc');
$node->safe_psql('copy', 'DROP EXTENSION tde_vault CASCADE');
$node->sql_is($works, 't|t|t|1', 'they work without the extension', db => 'copy');
$node->safe_psql('d', 'CALL tde_vault.unseal_catalogs()');
$node->safe_psql('d', 'DROP EXTENSION tde_vault CASCADE');
$node->safe_psql('postgres', 'DROP EXTENSION tde_vault CASCADE');
$node->safe_psql('nokey', 'DROP EXTENSION tde_vault CASCADE');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->start;
$node->sql_is($works, 't|t|t|1', "$_ works without the module", db => $_) foreach 'd', 'copy';

done_testing();
