# Our statements as the world around them sees them: command tags, logs,
# activity, statistics, event triggers, protocols.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create(
	'main',
	master => '',
	conf   => <<'CONF');
shared_preload_libraries = 'pg_stat_statements,tde_vault'
pg_stat_statements.track = all
log_statement = ddl
log_line_prefix = '<%i> '
log_min_messages = warning
CONF

# psql's own output, command tags included
sub tags
{
	my (@sql) = @_;
	my ($out, $err) = run_command([ 'psql', '-X', '-A', '-t', '-d',
			$node->connstr('postgres'), map { ('-c', $_) } @sql ]);
	return $err eq '' ? $out : "$out\n$err";
}

sub log_after
{
	my ($sql) = @_;
	my $size = $node->log_size;
	$node->psql('postgres', $sql);
	return slurp_file($node->logfile, $size);
}

$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');

# --- tags and logs -------------------------------------------------------------

my $size = $node->log_size;
is(tags("CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'master_key_prod_001'"),
	'CREATE MASTER KEY', 'the statement reports its own tag');
my $log = slurp_file($node->logfile, $size);
like($log, qr/LOG:  statement: CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'master_key_prod_001'/,
	'log_statement = ddl logs it as typed');
$node->sql_is("SELECT key_id FROM tde_vault.master_keys()",
	'master_key_prod_001', 'the key is there');

$log = log_after("CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'again'");
like($log, qr/^<CREATE MASTER KEY> ERROR:/m, 'log_line_prefix has the tag');
is(tags("CALL tde_vault.create_master_key('again')") =~ /ERROR/ ? 1 : 0, 1, 'the twin answers alike');
$log = log_after("CALL tde_vault.create_master_key('again')");
like($log, qr/^<CALL> ERROR:/m, 'a typed CALL is a CALL');
is(tags('DO $$ BEGIN END $$', 'SELECT 1', "CREATE TABLE t (id int) ENCRYPTION USING 'aes-256-ctr'",
		'INSERT INTO t VALUES (1), (2)', 'DELETE FROM t', 'DROP TABLE t'),
	"DO\n1\nCREATE TABLE\nINSERT 0 2\nDELETE 2\nDROP TABLE", 'the tags of others are theirs');

# --- secrets ---------------------------------------------------------------------

foreach my $sql (
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush'",
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' PASSWORD 'hush-hush'",
	"SELECT 1; RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush' nonsense",
	"SELEC 1; RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush'",
	"CREATE MASTER KEYS encryption; RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush'",
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush' 'hush-hush'",
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' PASSWORD VAULT 'hush-hush'",
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT 'hush-hush' PASSWORD",
	"RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD 'hush-hush",
	"CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:token=t?pin-value=hush-hush' KEY_ID 'k'",
	"CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:token=t?pin-value=hush-hush' KEY_ID k")
{
	$log = log_after($sql);
	like($log, qr/ERROR:/, 'refused: ' . substr($sql, 0, 50));
	unlike($log, qr/hush-hush/, 'and not logged');
}

# --- the HSM must be one -----------------------------------------------------------

my $key_file = $node->basedir . '/key';
TdeVault::write_file($node, $key_file, '0123456789abcdef' x 4 . "\n");
chmod 0600, $key_file or die;
$node->create_database('elsewhere', key_id => '');
$node->append_conf('postgresql.conf', "tde_vault.key_provider = 'file:$key_file'");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('tde_vault.key_provider') LIKE 'file:%'")
  or die 'no reload';
$node->sql_fails("CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k'", '55000',
	[ qr/no hardware security module is configured/, qr/HINT:.*PROVIDER/ ],
	'BY HSM needs a pkcs11 provider', db => 'elsewhere');
$node->safe_psql('elsewhere', "CREATE MASTER KEY ENCRYPTION BY PROVIDER 'file:$key_file' KEY_ID 'from_file'");
$node->sql_is("SELECT key_id FROM tde_vault.master_keys() WHERE provider LIKE 'file:%'",
	'from_file', 'BY PROVIDER takes the one that is named', db => 'elsewhere');
$node->safe_psql('elsewhere', "CREATE TABLE e (id int) ENCRYPTION USING 'aes-256-ctr'");
$node->sql_is("SELECT tde_vault.is_encrypted('e')", 't', 'and tables are encrypted under it', db => 'elsewhere');

# --- a database without the extension -------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE bare TEMPLATE template0');
$node->sql_fails("CREATE TABLE t (id int) ENCRYPTION USING 'AES-256-XTS'", '42704',
	[ qr/access method "tde_heap" does not exist/, qr/HINT:.*CREATE EXTENSION/ ],
	'the clause says what is missing', db => 'bare');
$node->sql_is("SELECT to_regclass('t') IS NULL", 't', 'and makes no table', db => 'bare');
$node->sql_fails("CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k'", '3F000',
	qr/tde_vault/, 'so does the statement', db => 'bare');

# --- statistics and activity -------------------------------------------------------------

$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
$node->safe_psql('postgres',
	"SELECT 1 AS one;  CREATE TABLE s (id int)\tENCRYPTION USING 'aes-256-ctr' ; /* ö */ SELECT 2 AS two, 3 AS three;DROP TABLE s");
$node->sql_is(
	"SELECT string_agg(query, '|' ORDER BY query COLLATE \"C\") FROM pg_stat_statements WHERE query !~ 'reset|agg'",
	"/* ö */ SELECT \$1 AS two, \$2 AS three|CREATE TABLE s (id int)\tENCRYPTION USING 'aes-256-ctr'|DROP TABLE s|SELECT \$1 AS one",
	'pg_stat_statements cuts each statement out of the text as typed');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE seen (tag text, query text);
CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen SELECT tg_tag, query FROM pg_stat_activity WHERE pid = pg_backend_pid();
END $$;
CREATE EVENT TRIGGER see ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS') EXECUTE FUNCTION see();
SQL
$node->safe_psql('postgres', "CREATE TABLE t1 (id int) ENCRYPTION USING 'aes-256-ctr'");
$node->safe_psql('postgres', "CREATE TABLE t2 ENCRYPTION USING 'aes-256-ctr' AS SELECT 1 AS a");
$node->sql_is("SELECT tag, query FROM seen ORDER BY tag",
	"CREATE TABLE|CREATE TABLE t1 (id int) ENCRYPTION USING 'aes-256-ctr'\n"
	  . "CREATE TABLE AS|CREATE TABLE t2 ENCRYPTION USING 'aes-256-ctr' AS SELECT 1 AS a",
	'event triggers fire, pg_stat_activity shows the text');
$node->safe_psql('postgres', 'DROP EVENT TRIGGER see');

# --- extended protocol, plain and prepared -------------------------------------------------

my $script = $node->basedir . '/script.sql';
TdeVault::write_file($node, $script, <<'SQL');
BEGIN;
CREATE TABLE x (id int) ENCRYPTION USING 'aes-256-ctr';
CREATE TABLE y USING tde_heap ENCRYPTION USING 'aes-256-xts' AS SELECT 1 AS a;
INSERT INTO x SELECT a FROM y;
DROP TABLE x, y;
COMMIT;
SQL
foreach my $mode (qw(simple extended prepared))
{
	$node->pgbench("-n -t 3 -M $mode -f $script", 0, [qr{processed: 3/3}], [qr{^$}],
		"pgbench -M $mode");
}
TdeVault::write_file($node, $script, "CREATE MASTER KEY ENCRYPTION BY HSM KEY_ID 'k';\n");
$node->create_database('third', key_id => '');
$node->append_conf('postgresql.conf', "tde_vault.key_provider = '" . $node->provider_uri . "'");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('tde_vault.key_provider') LIKE 'pkcs11:%'")
  or die 'no reload';
my ($out, $err) = run_command([ 'pgbench', '-n', '-t', '1', '-M', 'prepared', '-f', $script,
		'-h', $node->host, '-p', $node->port, 'third' ]);
like($out, qr{processed: 1/1}, 'CREATE MASTER KEY by the extended protocol');
$node->sql_is('SELECT count(*) FROM tde_vault.master_keys() m JOIN pg_database d ON d.oid = m.database'
	  . " WHERE datname = 'third'", '1', 'made the key', db => 'third');

# --- after all that, the data is sealed ---------------------------------------------------

$node->safe_psql('postgres', 'INSERT INTO t1 SELECT g FROM generate_series(1, 500) g');
$node->verify_ok('verify is clean');
$node->stop;
done_testing();
