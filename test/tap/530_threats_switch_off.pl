# Switching the guard off: rows 31 to 36 and 40 of the list of threats.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = realm_server(
	conf => "restart_after_crash = on\n",
	sql  => <<'SQL');
CREATE EXTENSION adminpack;
CREATE DATABASE elsewhere;
CREATE ROLE strict LOGIN SUPERUSER;
ALTER ROLE strict SET tde_vault.enforce_encryption = on;
GRANT ALL ON SCHEMA secret TO owner, mallory, alice;
-- what is the vault's is the attacker's own, as PostgreSQL sees it
SELECT format('ALTER VIEW tde_vault.%I OWNER TO owner', relname) FROM pg_class WHERE relnamespace = 'tde_vault'::regnamespace AND relkind = 'v' \gexec
SELECT format('ALTER ROUTINE %s OWNER TO owner', oid::regprocedure) FROM pg_proc WHERE pronamespace = 'tde_vault'::regnamespace \gexec
ALTER SCHEMA tde_vault OWNER TO owner;
SQL
my $read = 'SELECT ssn FROM secret.patients;';
my $data = $node->data_dir;
my $auto = slurp_file("$data/postgresql.auto.conf");

# --- 31: settings ------------------------------------------------------------------------

my %setting = (
	shared_preload_libraries => q{''}, session_preload_libraries => q{'evil'}, local_preload_libraries => q{'evil'},
	archive_command => q{'cp %p /tmp'}, archive_library => q{'evil'}, restore_command => q{'cp /tmp/%f %p'},
	archive_cleanup_command => q{'true'}, recovery_end_command => q{'true'}, dynamic_library_path => q{'/tmp'},
	allow_system_table_mods => 'on', jit_provider => q{'evil'}, session_replication_role => 'replica',
	ssl_passphrase_command => q{'true'}, hba_file => q{'/tmp/hba'}, ident_file => q{'/tmp/ident'},
	log_directory => q{'/tmp'}, ssl_ca_file => q{'/tmp/ca'}, ssl_cert_file => q{'/tmp/cert'}, ssl_key_file => q{'/tmp/key'},
	zero_damaged_pages => 'on', ignore_checksum_failure => 'on', ignore_system_indexes => 'on', fsync => 'off',
	password_encryption => 'md5',
	debug_print_parse => 'on', debug_print_plan => 'on', debug_print_rewritten => 'on',
	'tde_vault.audit_directory' => q{'/tmp/audit'}, 'tde_vault.key_provider' => q{'file:/tmp/key'},
	'tde_vault.unlock_timeout' => q{'7d'}, 'tde_vault.max_failed_unlocks' => '1000', 'tde_vault.lockout_time' => '1',
	'tde_vault.audit_reads' => 'on', 'tde_vault.audit_ddl' => 'off', 'tde_vault.enforce_encryption' => 'off');
foreach my $name (sort keys %setting)
{
	next if $name eq 'tde_vault.enforce_encryption';
	attack("31: ALTER SYSTEM SET $name", 'mallory', "ALTER SYSTEM SET $name = $setting{$name};", REFUSED);
	attack("31: ALTER SYSTEM RESET $name", 'mallory', "ALTER SYSTEM RESET $name;", REFUSED, database => 'elsewhere');
}
attack('31: ALTER SYSTEM RESET ALL', 'mallory', 'ALTER SYSTEM RESET ALL;', REFUSED);
attack('31: another spelling', 'mallory', q{ALTER SYSTEM SET "Shared_Preload_Libraries" = '';}, REFUSED);
attack('31: in DO', 'mallory', q{DO $$BEGIN EXECUTE 'ALTER SYSTEM SET archive_command = ''true'''; END$$;}, REFUSED);
is(slurp_file("$data/postgresql.auto.conf"), $auto, '31: the file has not changed');

foreach my $name (qw(session_replication_role allow_system_table_mods session_preload_libraries zero_damaged_pages
	dynamic_library_path ignore_checksum_failure debug_print_plan password_encryption))
{
	my $value = $setting{$name};
	my $text = $value =~ /^'/ ? $value : "'$value'";

	attack("31: $_", 'mallory', "$_; $read", qr/cannot be changed while a vault is on|is refused|parameter "\S+" cannot be (?:changed|set)/)
	  foreach ("SET $name = $value", "SET LOCAL $name = $value", "SELECT set_config('$name', $text, false)",
		"SELECT set_config('$name', $text, true)", "UPDATE pg_settings SET setting = $text WHERE name = '$name'",
		"CREATE FUNCTION public.with_setting() RETURNS int LANGUAGE sql SET $name = $value AS 'SELECT 1'; SELECT public.with_setting()",
		"ALTER ROLE mallory SET $name = $value", "ALTER ROLE ALL SET $name = $value",
		"ALTER DATABASE postgres SET $name = $value", "ALTER ROLE mallory IN DATABASE postgres SET $name = $value",
		"DO \$do\$BEGIN PERFORM set_config('$name', $text, false); END\$do\$");
	local $ENV{PGOPTIONS} = "-c $name=" . ($value =~ s/'//gr);
	my ($rc, $out, $err) = $node->psql('postgres', $read, extra_params => [ '-U', 'mallory' ]);
	isnt($rc, 0, "31: PGOPTIONS with $name");
	unlike("$out$err", qr/${\VaultAttack::MARKER}/, "31: and nothing is read");
}

# A safeguard: whoever likes switches it on, nobody off.
my ($rc, $out, $err) = $node->psql('postgres', 'SHOW tde_vault.enforce_encryption', extra_params => [ '-U', 'strict' ]);
is("$out$err", 'on', "31: a role's safeguard from before the vault still binds, and nothing is said of it");
attack("31: $_", 'strict', "$_; $read", qr/cannot be changed while a vault is on|is refused|may (?:only )?be changed/)
  foreach ('SET tde_vault.enforce_encryption = off', q{SELECT set_config('tde_vault.enforce_encryption', 'off', true)},
	'ALTER ROLE strict SET tde_vault.enforce_encryption = off', 'ALTER ROLE strict RESET tde_vault.enforce_encryption',
	'ALTER ROLE strict RESET ALL', 'ALTER DATABASE postgres RESET ALL', 'ALTER ROLE ALL RESET ALL', 'ALTER DATABASE postgres RESET search_path', 'ALTER DATABASE postgres SET tde_vault.enforce_encryption = false');
is($node->psql('postgres', 'SET tde_vault.enforce_encryption = on; SET tde_vault.enforce_encryption = off', extra_params => [ '-U', 'mallory' ]),
	3, '31: once on, it stays on');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_db_role_setting'), 1, '31: nothing more is kept for roles and databases');
is($node->psql('postgres', q{SET work_mem = '8MB'; SET session_replication_role = origin; SET tde_vault.cipher = 'aes-256-gcm'}, extra_params => [ '-U', 'mallory' ]),
	0, '31: other settings, and the value that is there, are fine');

# --- 32: files of the server ----------------------------------------------------------------

foreach my $database ('postgres', 'elsewhere')
{
	attack("32: $database: $_", 'mallory', "$_;", REFUSED, database => $database)
	  foreach (
		"COPY (SELECT 'shared_preload_libraries = ''''') TO '$data/postgresql.auto.conf'",
		"COPY (SELECT 1) TO PROGRAM 'cat > $data/postgresql.auto.conf'",
		"COPY pg_class TO '/tmp/classes'",
		"SELECT lo_export(lo_from_bytea(0, 'x'), '$data/postgresql.auto.conf')",
		"SELECT lo_import('$data/tde_vault/keyring')",
		"SELECT pg_read_file('postgresql.conf')",
		"SELECT pg_read_binary_file('tde_vault/keyring')",
		"LOAD '/tmp/evil.so'",
		"CREATE FUNCTION public.evil() RETURNS int LANGUAGE c AS '/tmp/evil', 'evil'",
		"CREATE FUNCTION public.evil() RETURNS int LANGUAGE c AS 'libc.so.6', 'system'",
		'CREATE LANGUAGE evil HANDLER plpgsql_call_handler');
}
attack("32: $_", 'mallory', "$_;", REFUSED)
  foreach (
	"SELECT pg_file_write('postgresql.auto.conf', 'x', false)",
	"SELECT pg_catalog.pg_file_rename('tde_vault/vault', 'tde_vault/away')",
	"SELECT pg_file_unlink('tde_vault/keyring')",
	"CREATE FUNCTION public.w(text, text, bool) RETURNS bigint LANGUAGE c AS '\$libdir/adminpack', 'pg_file_write_v1_1'; SELECT public.w('x', 'y', false)",
	"CREATE FUNCTION public.r(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'; SELECT public.r('PG_VERSION')");
is(slurp_file("$data/postgresql.auto.conf"), $auto, '32: the file has not changed');

# --- 33 to 35: the vault's own, and the catalogs ------------------------------------------------

attack_each("33: $_", "$_;")
  foreach (
	(map { ("DO \$do\$BEGIN EXECUTE 'CREATE OR REPLACE VIEW tde_vault.$_ AS ' || pg_get_viewdef('tde_vault.$_'::regclass); END\$do\$",
		"DO \$do\$BEGIN EXECUTE 'CREATE OR REPLACE RULE \"_RETURN\" AS ON SELECT TO tde_vault.$_ DO INSTEAD ' || pg_get_viewdef('tde_vault.$_'::regclass); END\$do\$") } qw(realms audit_log trusted_code)),
	'CREATE OR REPLACE RULE r AS ON INSERT TO tde_vault.realms DO INSTEAD NOTHING',
	'CREATE OR REPLACE TRIGGER t INSTEAD OF INSERT ON tde_vault.realms FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'ALTER VIEW tde_vault.realms SET (security_barrier = true)', 'ALTER VIEW tde_vault.realms RENAME COLUMN realm TO other',
	'ALTER VIEW tde_vault.realms SET SCHEMA public',
	'REVOKE ALL ON tde_vault.audit_log FROM vault_auditor', 'REVOKE ALL ON ALL TABLES IN SCHEMA tde_vault FROM vault_auditor, PUBLIC',
	'REVOKE EXECUTE ON PROCEDURE tde_vault.unlock_realm FROM PUBLIC', 'REVOKE USAGE ON SCHEMA tde_vault FROM PUBLIC',
	'CREATE OPERATOR tde_vault.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)', 'CREATE COLLATION tde_vault.c FROM "C"',
	'CREATE TYPE tde_vault.planted AS ENUM ()', 'CREATE VIEW tde_vault.planted AS SELECT 1 AS x',
	'CREATE TABLE tde_vault.planted (id int)',
	'CREATE FUNCTION tde_vault.planted() RETURNS int LANGUAGE sql AS \'SELECT 1\'',
	'ALTER VIEW tde_vault.realms OWNER TO CURRENT_USER');
# PostgreSQL itself drops no part of an extension
attack_each("33: $_", "$_;", qr/ERROR:\s+2BP01: cannot drop .* because extension tde_vault requires it/)
  foreach ('DROP VIEW tde_vault.audit_log', 'DROP FUNCTION tde_vault.audit_lines() CASCADE');
attack_each('33: DROP ACCESS METHOD', 'DROP ACCESS METHOD tde_heap CASCADE;', qr/2BP01: cannot drop .* because extension tde_vault requires it/, superuser => 1);
attack_each("34: $_", "$_;")
  foreach (
	'DROP EXTENSION tde_vault', 'DROP EXTENSION tde_vault CASCADE',
	'ALTER EXTENSION tde_vault UPDATE', q{ALTER EXTENSION tde_vault UPDATE TO '2.0'},
	'ALTER EXTENSION tde_vault SET SCHEMA public', 'ALTER EXTENSION tde_vault DROP VIEW tde_vault.realms',
	'ALTER EXTENSION tde_vault DROP ACCESS METHOD tde_heap',
	'DROP SCHEMA tde_vault CASCADE', 'DROP SCHEMA secret CASCADE', 'ALTER SCHEMA tde_vault RENAME TO gone',
	'ALTER SCHEMA tde_vault OWNER TO CURRENT_USER',
	'DROP TABLE secret.patients', 'DROP TABLE secret.patients, secret.log, secret.small CASCADE',
	'TRUNCATE secret.patients', 'TRUNCATE secret.log, secret.small CASCADE',
	'ALTER TABLE secret.patients SET ACCESS METHOD heap', 'ALTER TABLE secret.patients SET UNLOGGED',
	q{CREATE OR REPLACE FUNCTION tde_vault.audit_verify(OUT ok boolean, OUT records bigint, OUT first_bad text, OUT reason text) RETURNS record LANGUAGE sql AS 'SELECT true, 1::bigint, NULL::text, NULL::text'},
	'ALTER FUNCTION tde_vault.audit_lines() RENAME TO lines', 'ALTER FUNCTION tde_vault.audit_lines() SET search_path = public',
	'ALTER FUNCTION tde_vault.audit_verify() OWNER TO CURRENT_USER',
	'CALL tde_vault.disable_vault()', 'ALTER DATABASE DISABLE DATABASE VAULT', 'ALTER DATABASE postgres DISABLE DATABASE VAULT',
	q{CALL tde_vault.realm_mode('pii', 'simulate')}, 'ALTER REALM pii DISABLE', 'ALTER REALM pii SIMULATE', 'DROP REALM pii',
	'ALTER REALM pii REMOVE TABLE secret.patients', 'ALTER REALM pii AUTHORIZE mallory, owner', 'ALTER REALM pii OWNER TO mallory',
	q{GRANT VAULT PASSWORD ON REALM pii TO mallory PASSWORD 'x'},
	'REASSIGN OWNED BY owner TO CURRENT_USER', 'DROP OWNED BY vault_auditor');
attack("34: elsewhere: $_", 'mallory', "$_;", REFUSED, database => 'elsewhere')
  foreach ('DROP DATABASE postgres', 'DROP DATABASE postgres WITH (FORCE)');

my @catalogs = (
	q{UPDATE pg_proc SET prosrc = 'x' WHERE proname = 'audit_lines'},
	q{UPDATE pg_proc SET proowner = 'alice'::regrole WHERE proname = 'audit_note'},
	q{DELETE FROM pg_trigger}, q{UPDATE pg_class SET relam = 2 WHERE relname = 'patients'},
	q{UPDATE pg_class SET relfilenode = (relfilenode::bigint + 1)::oid WHERE relname = 'small'},
	q{UPDATE pg_class SET relowner = 'mallory'::regrole WHERE relname = 'patients'},
	q{UPDATE pg_namespace SET nspname = 'x' WHERE nspname = 'tde_vault'}, q{DELETE FROM pg_policy},
	q{UPDATE pg_am SET amhandler = 'heap_tableam_handler'::regproc WHERE amname = 'tde_heap'},
	q{UPDATE pg_operator SET oprcode = 'int4eq'::regproc WHERE oprname = '='},
	q{DELETE FROM pg_depend}, q{DELETE FROM pg_extension WHERE extname = 'tde_vault'}, q{DELETE FROM pg_rewrite},
	q{UPDATE pg_attribute SET attname = 'x' WHERE attrelid = 'secret.patients'::regclass}, q{UPDATE pg_index SET indisvalid = false},
	q{MERGE INTO pg_proc p USING (SELECT 1) x ON p.proname = 'audit_lines' WHEN MATCHED THEN DELETE},
	q{WITH x AS (DELETE FROM pg_proc WHERE proname = 'audit_lines' RETURNING 1) SELECT count(*) FROM x});
# PostgreSQL itself refuses these to everybody
my @never = (q{CREATE RULE r AS ON UPDATE TO pg_class DO INSTEAD NOTHING}, q{TRUNCATE pg_statistic}, q{CREATE TRIGGER t BEFORE INSERT ON pg_class EXECUTE FUNCTION suppress_redundant_updates_trigger()});
my @shared = (
	q{INSERT INTO pg_auth_members VALUES ('alice'::regrole, 'mallory'::regrole, 10, true)},
	q{INSERT INTO pg_auth_members SELECT 'vault_admin'::regrole, 'mallory'::regrole, 10, true},
	q{UPDATE pg_authid SET rolpassword = NULL WHERE rolname = 'alice'}, q{UPDATE pg_authid SET rolname = 'anne' WHERE rolname = 'alice'},
	q{UPDATE pg_authid SET oid = 'alice'::regrole::oid WHERE rolname = 'mallory'}, q{DELETE FROM pg_authid WHERE rolname = 'security'},
	q{UPDATE pg_database SET datname = 'x' WHERE datname = 'postgres'}, q{DELETE FROM pg_database},
	q{INSERT INTO pg_db_role_setting VALUES (0, 0, ARRAY['session_preload_libraries=evil'])},
	qq{COPY pg_auth_members FROM STDIN;\n1\t2\t10\tt\n\\.\n});
attack_each("35: $_", "$_;", qr/TV036: .*is refused while a vault is on/, superuser => 1) foreach (@catalogs, @shared);
attack_each("35: $_", "$_;", REFUSED, postgres => 1) foreach @never;
attack("35: elsewhere: $_", 'mallory', "$_;", REFUSED, database => 'elsewhere') foreach @shared;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_auth_members WHERE member = 'mallory'::regrole}), 0, '35: mallory is in no role');
control('31 to 35: everything is there still', 'SELECT count(*), (SELECT count(*) FROM secret.log), (SELECT count(*) FROM secret.small) FROM secret.patients;', qr/^60\|1\|1$/m);
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) > 100 FROM tde_vault.audit_log WHERE result = \'DENIED\'', extra_params => [ '-U', 'mallory' ]);
isnt($rc, 0, 'the superuser does not read the log');
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN');
run_as('security', 'GRANT vault_auditor TO auditor;');
like(run_as('auditor', 'SELECT ok FROM tde_vault.audit_verify();'), qr/^t$/m, 'the auditor checks it');
like(run_as('auditor', q{SELECT count(*) > 300 FROM tde_vault.audit_log WHERE result = 'DENIED' AND "user" IN ('mallory', 'owner', 'alice');}), qr/^t$/m,
	'and finds every attempt');

# --- 36: erasing traces ---------------------------------------------------------------------------

run_as('mallory', "BEGIN; $read ROLLBACK;");
my $denied = q{SELECT count(*) FROM tde_vault.audit_log WHERE result = 'DENIED' AND "user" = 'mallory' AND object LIKE '%patients%' AND application_name = 'erased'};
run_as('mallory', "SET application_name = 'erased'; BEGIN; SAVEPOINT a; $read ROLLBACK TO a; ROLLBACK;");
like(run_as('auditor', "$denied;"), qr/^[1-9]\d*$/m, '36: ROLLBACK leaves the record of a refusal');
run_as('alice', "BEGIN; CALL tde_vault.unlock_realm('pii', 'wrong'); ROLLBACK;") foreach 1 .. 5;
like(run_as('alice', UNLOCK . $read), qr/locked out|too many/i, '36: and the count of wrong passwords');
$node->restart;
like(run_as('alice', UNLOCK . $read), qr/locked out|too many/i, '36: which a restart does not clear, either');

# --- 40: a server without the module -------------------------------------------------------------------

$node->stop;
my $conf = slurp_file("$data/postgresql.conf");
sub single
{
	my ($sql, @options) = @_;
	my $output = '';
	local %ENV = $node->_get_env();
	IPC::Run::run([ 'postgres', '--single', '-D', $data, @options, 'postgres' ], '<', \"$sql\n", '>', \$output, '2>&1');
	return $output;
}
my $alone = single('SELECT ssn FROM secret.patients');
like($alone, qr/not authorized for realm|vault password required/, '40: single-user mode is not authorized');
unlike($alone, qr/${\VaultAttack::MARKER}/, '40: and reads nothing');
my $without = single('SELECT ssn FROM secret.patients', '-c', 'shared_preload_libraries=');
like($without, qr/ERROR|FATAL|PANIC/, '40: without the module the table is sealed');
unlike($without, qr/${\VaultAttack::MARKER}/, '40: and nothing is read');
$without = single('COPY secret.patients TO STDOUT', '-c', 'shared_preload_libraries=', '-c', 'ignore_checksum_failure=on', '-c', 'zero_damaged_pages=on');
unlike($without, qr/${\VaultAttack::MARKER}/, '40: with damage ignored, neither');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
ok($node->start(fail_ok => 1), '40: the server starts without it') or diag('did not start');
($rc, $out, $err) = $node->psql('postgres', $read);
isnt($rc, 0, '40: and the table is sealed');
unlike("$out$err", qr/${\VaultAttack::MARKER}/, '40: nothing is read');
$node->stop('fast', fail_ok => 1);
open my $fh, '>', "$data/postgresql.conf" or die;
print $fh $conf;
close $fh;

done_testing();
