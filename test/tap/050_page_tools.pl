# The stock tools on a cluster of encrypted tables: pg_checksums, pg_amcheck,
# pg_basebackup, pg_verifybackup, pg_dump, pg_waldump.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils qw(check_mode_recursive);
use Test::More;

my $node = TdeVault->create('main', initdb => ['-k'], streaming => 1,
	conf => "default_table_access_method = tde_heap\nshared_buffers = 16MB\nmax_connections = 40\n");
my $tablespace = $node->basedir . '/ts';
mkdir $tablespace or die;
$node->safe_psql('postgres', <<"SQL");
CREATE TABLESPACE ts LOCATION '$tablespace';
CREATE EXTENSION amcheck;
CREATE EXTENSION bloom;
CREATE TABLE plain USING heap AS SELECT g AS id FROM generate_series(1, 500) g;
CREATE UNLOGGED TABLE unlogged AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 500) g;
CREATE INDEX ON unlogged (v);
SQL
my @ciphers = TdeVault::ALL_CIPHERS;
foreach my $cipher (@ciphers)
{
	my $t = 't_' . ($cipher =~ s/-/_/gr);
	$node->safe_psql('postgres', <<"SQL");
SET tde_vault.cipher = '$cipher';
CREATE TABLE $t (id serial PRIMARY KEY, v text, a int[]);
ALTER TABLE $t ALTER v SET STORAGE EXTERNAL;
INSERT INTO $t (v, a) SELECT repeat(md5(g::text), CASE WHEN g % 50 = 0 THEN 200 ELSE 5 END), ARRAY[g, g + 1] FROM generate_series(1, 1000) g;
CREATE INDEX ${t}_md5 ON $t (md5(v));
CREATE INDEX ${t}_gin ON $t USING gin (a);
CREATE INDEX ${t}_hash ON $t USING hash (id);
CREATE INDEX ${t}_brin ON $t USING brin (id);
CREATE INDEX ${t}_bloom ON $t USING bloom (id);
CREATE INDEX ${t}_spgist ON $t USING spgist ((left(v, 32)));
CREATE TABLE ${t}_ts (id int PRIMARY KEY USING INDEX TABLESPACE ts) TABLESPACE ts;
INSERT INTO ${t}_ts SELECT generate_series(1, 2000);
DELETE FROM $t WHERE id % 7 = 0;
VACUUM $t;
SQL
}
my $digest_sql = join ' UNION ALL ',
  map { my $t = 't_' . s/-/_/gr; "SELECT '$t', count(*), md5(string_agg(id || v || a::text, ',' ORDER BY id)) FROM $t" } @ciphers;
$digest_sql .= " UNION ALL SELECT 'ts', count(*), NULL FROM t_aes_256_gcm_ts UNION ALL SELECT 'plain', count(*), NULL FROM plain ORDER BY 1";
my $digest = $node->safe_psql('postgres', $digest_sql);
my $encrypted = $node->safe_psql('postgres', 'SELECT count(DISTINCT relation) FROM tde_vault.encryption_status');

sub intact
{
	my ($server, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$server->sql_is($digest_sql, $digest, "$name: all rows are right");
	$server->verify_ok("$name: verify is clean", min => 30);
	return;
}
intact($node, 'before');

# pg_amcheck.  verify_heapam accepts no other access method than heap, so
# tables are checked through their indexes: every heap tuple must be in them.
# Without a pattern it passes over these, too: it looks for heap tables, and then
# for what belongs to them.
$node->command_ok([ 'pg_amcheck', '--all', '--install-missing' ], 'pg_amcheck of everything');
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION fickle(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT sign($1 - $2)::int';
CREATE OPERATOR CLASS fickle_ops FOR TYPE int USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 fickle(int, int);
CREATE TABLE fickly AS SELECT g AS id FROM generate_series(1, 300) g;
CREATE INDEX fickly_id ON fickly (id fickle_ops);
CREATE OR REPLACE FUNCTION fickle(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT sign($2 - $1)::int';
SQL
$node->command_checks_all([ 'pg_amcheck', '--all', '--schema', '*' ], 2,
	[ qr/index "postgres\.public\.fickly_id":\s+ERROR:  item order invariant violated/ ], [ qr/^$/ ],
	'pg_amcheck with a pattern finds an index of an encrypted table whose order is wrong');
$node->safe_psql('postgres', 'DROP TABLE fickly; DROP OPERATOR CLASS fickle_ops USING btree; DROP FUNCTION fickle');
$node->command_checks_all(
	[ 'pg_amcheck', '-v', '-d', 'postgres', '-s', 'public', '--heapallindexed', '--parent-check', '--rootdescend' ],
	0, [qr/^/], [ map { my $t = 't_' . s/-/_/gr; qr/checking btree index "postgres\.public\.${t}_(pkey|md5)"/ } @ciphers ],
	'pg_amcheck of every btree index with all heap tuples');
$node->sql_is(q{SELECT count(bt_index_parent_check(c.oid, true)) >= 4 FROM pg_class c JOIN pg_am a ON a.oid = c.relam
	WHERE a.amname = 'btree' AND c.relnamespace = 'pg_toast'::regnamespace AND tde_vault.is_encrypted(c.oid::regclass)},
	't', 'amcheck of the TOAST indexes');

# pg_basebackup while the server writes, checksums on.
my $writer = $node->background_psql('postgres');
$writer->query_until(qr/going/, "\\echo going\nDO \$\$BEGIN FOR i IN 1..2000 LOOP INSERT INTO t_aes_256_gcm_ts VALUES (10000 + i); COMMIT; END LOOP; END\$\$;\nDELETE FROM t_aes_256_gcm_ts WHERE id > 10000;\n");
my $backup = $node->backup_dir . '/b';
my $copy_ts = $node->basedir . '/ts_copy';
$node->command_ok(
	[ 'pg_basebackup', '-D', $backup, '-h', $node->host, '-p', $node->port, '--checkpoint', 'fast', '-X', 'stream',
		'-T', "$tablespace=$copy_ts", '--no-sync' ],
	'pg_basebackup with checksums');
$node->command_ok([ 'pg_verifybackup', $backup ], 'pg_verifybackup');
$writer->quit;
my $restored = TdeVault->create_from_backup('restored', $node, 'b');
$restored->start;
# The backup may hold some of the writer's rows.
$restored->safe_psql('postgres', 'DELETE FROM t_aes_256_gcm_ts WHERE id > 10000');
intact($restored, 'restored backup');
$restored->sql_is('SELECT count(*) FROM unlogged', '0', 'restored backup: unlogged table is there, empty');
$restored->safe_psql('postgres', 'INSERT INTO unlogged SELECT g, md5(g::text) FROM generate_series(1, 100) g; INSERT INTO t_aes_256_gcm (v) SELECT \'new\' FROM generate_series(1, 500)');
$restored->verify_ok('restored backup: new rows verify');
$restored->stop;

# A standby from the same backup program: same keys, same rows.
$node->backup('standby_base', backup_options => [ '-T', "$tablespace=" . $node->basedir . '/ts_standby' ]);
my $standby = TdeVault->create_from_backup('standby', $node, 'standby_base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
intact($standby, 'standby');
$standby->stop;

# pg_dump and restore.
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', '-t', 't_aes*', 'postgres' ], 'pg_dump');
$node->create_database('dumped');
$node->safe_psql('dumped', 'CREATE EXTENSION bloom');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'dumped', $node->basedir . '/dump' ], 'pg_restore');
$node->sql_is("SELECT count(*), bool_and(tde_vault.is_encrypted('t_aes_256_gcm')) FROM t_aes_256_gcm", '858|t', 'restored dump is encrypted', db => 'dumped');

# pg_waldump reads every record.
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
my $segment = $node->safe_psql('postgres', q{SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'});
my $last = $node->safe_psql('postgres', q{SELECT pg_walfile_name(pg_switch_wal())});
my ($out, $err) = run_command_in($node, 'pg_waldump', '-q', '-p', $node->data_dir . '/pg_wal', $segment, $last);
unlike($err, qr/incorrect|invalid magic/, 'pg_waldump reads the log');

sub run_command_in
{
	my ($server, @command) = @_;
	local %ENV = $server->_get_env();
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run(\@command, '>', \$stdout, '2>', \$stderr);
	return ($stdout, $stderr);
}

# pg_checksums.
my $data = $node->data_dir;
$node->stop_clean;
$node->command_ok([ 'pg_checksums', '--check', '-D', $data ], 'pg_checksums --check');
$node->command_ok([ 'pg_checksums', '--disable', '-D', $data ], 'pg_checksums --disable');
$node->start;
$node->sql_is('SHOW data_checksums', 'off', 'checksums are off');
intact($node, 'checksums switched off');

# Pages written now have no checksum when checksums are switched on again.
foreach my $cipher (@ciphers)
{
	my $t = 't_' . ($cipher =~ s/-/_/gr);
	$node->safe_psql('postgres', "UPDATE $t SET a = a || 1 WHERE id % 3 = 0; VACUUM $t");
}
$digest = $node->safe_psql('postgres', $digest_sql);
$node->stop_clean;
$node->command_ok([ 'pg_checksums', '--enable', '-D', $data ], 'pg_checksums --enable');
$node->command_ok([ 'pg_checksums', '--check', '-D', $data ], 'pg_checksums --check after it');
$node->start;
$node->sql_is('SHOW data_checksums', 'on', 'checksums are on');
intact($node, 'checksums switched on');
$node->safe_psql('postgres', "UPDATE t_$_ SET a = a || 2 WHERE id % 5 = 0") foreach map { s/-/_/gr } @ciphers;
$digest = $node->safe_psql('postgres', $digest_sql);
$node->stop_clean;
$node->command_ok([ 'pg_checksums', '--check', '-D', $data ], 'pg_checksums --check after writing');

# And it does find damage.
$node->start;
my $path = $node->relation_path('t_aes_256_gcm');
$node->stop_clean;
$node->flip_file_bit($path, 3 * TdeVault::BLCKSZ + 4000);
$node->command_checks_all([ 'pg_checksums', '--check', '-D', $data ], 1, [qr/Bad checksums:\s+1\b/], [qr/checksum verification failed.*block 3/],
	'pg_checksums --check finds a flipped bit');
$node->flip_file_bit($path, 3 * TdeVault::BLCKSZ + 4000);
$node->start;
intact($node, 'at the end');
$node->sql_is('SELECT count(DISTINCT relation) FROM tde_vault.encryption_status', $encrypted, 'as many encrypted relations as at the beginning');
$node->stop;

# A data directory that the group may read (initdb -g), so that somebody else
# makes its backups: they need keyring, sidecars, policy and audit log, too.
my $group = TdeVault->create('group', initdb => ['-g']);
$group->safe_psql('postgres', $_) foreach (
	'CREATE ROLE sec LOGIN', 'CREATE TABLE t (v text) USING tde_heap', q{INSERT INTO t VALUES ('x')}, 'GRANT vault_admin TO sec',
	'CALL tde_vault.enable_vault()', q{CREATE TEMP TABLE spill USING tde_heap AS SELECT repeat('x', 2000) FROM generate_series(1, 1000)});
$group->psql('postgres', q{CALL tde_vault.unlock_realm('none', 'wrong')});
$group->restart;
$group->sql_is('SELECT v FROM t', 'x', 'a table in a data directory for a group');
$group->stop;
ok(-e $group->data_dir . "/tde_vault/$_", "there is $_") foreach ('keyring', 'vault', 'audit');
ok(check_mode_recursive($group->data_dir, 0750, 0640), 'all files are for the group to read');

done_testing();
