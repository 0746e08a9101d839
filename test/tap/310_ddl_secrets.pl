# A password in a statement is in no log, no view and no file of statistics,
# however the statement comes, whether it works or fails, and with every setting
# that makes the server talk.  The procedures are stand-ins that note a digest of
# what they got.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Digest::MD5 qw(md5_hex);
use IPC::Run ();
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = TdeVault->create(
	'main',
	master => '',
	conf   => <<'CONF');
shared_preload_libraries = 'pg_stat_statements,auto_explain,tde_vault'
logging_collector = on
log_destination = 'stderr,csvlog,jsonlog'
log_statement = all
log_min_duration_statement = 0
log_min_messages = debug2
log_min_error_statement = debug5
log_error_verbosity = verbose
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
track_activity_query_size = 16kB
log_lock_waits = on
deadlock_timeout = 50ms
restart_after_crash = on
CONF

$node->safe_psql('postgres', "CREATE DATABASE secrets TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
$node->safe_psql('secrets', <<'SQL');
CREATE EXTENSION pg_stat_statements;
CREATE SCHEMA tde_vault;
CREATE TABLE called (digest text);
CREATE PROCEDURE tde_vault.unlock_realm(realm text, password text) LANGUAGE plpgsql AS $$
BEGIN
	IF realm = 'hang' THEN
		PERFORM pg_advisory_xact_lock(1);
	ELSIF realm = 'fail' THEN
		RAISE EXCEPTION 'wrong password' USING DETAIL = 'realm ' || realm;
	END IF;
	INSERT INTO called VALUES (md5(unlock_realm.password));
END $$;
CREATE PROCEDURE tde_vault.grant_vault_password(realm text, role text, password text, valid_for interval, OUT generated text)
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO called VALUES (md5(grant_vault_password.password));
END $$;
CREATE PROCEDURE tde_vault.set_vault_password(realm text, role text, password text, valid_for interval DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO called VALUES (md5(set_vault_password.password));
END $$;
CREATE ROLE someone;
SQL

my @markers;
my $n = 0;
sub new_marker { push @markers, TdeVault::marker('password ' . $n++); return $markers[-1]; }

sub server_log
{
	my $log = slurp_file($node->logfile);
	$log .= slurp_file($_) foreach glob $node->data_dir . '/log/*';
	return $log;
}

# Run psql -c; returns what it says.  {} in the statement is a new password.
sub psql
{
	my ($sql, @options) = @_;
	my $marker = new_marker();
	$sql =~ s/\{\}/$marker/g;
	my ($out, $err) = run_command([ 'psql', '-X', '-A', '-t', '-d', $node->connstr('secrets'), @options, '-c', $sql ]);
	return ("$out\n$err", $marker);
}

# The statement arrives at the procedure with the password that was typed.
sub arrives
{
	my ($sql, @options) = @_;
	my ($said, $marker) = psql($sql, @options);
	unlike($said, qr/ERROR/, "works: $sql");
	$node->sql_is('WITH d AS (DELETE FROM called RETURNING *) SELECT DISTINCT digest FROM d',
		md5_hex($marker), '... with its password', db => 'secrets');
	return;
}

sub fails
{
	my ($sql, $pattern) = @_;
	my ($said) = psql($sql);
	like($said, qr/ERROR:.*$pattern/s, "fails: $sql");
	return;
}

# --- statements that work ------------------------------------------------------------

arrives($_)
  foreach (
	"UNLOCK REALM r PASSWORD '{}'",
	"unlock/**/realm r password\n'{}' ;",
	"UNLOCK REALM r PASSWORD E'\\x71'\n''; UNLOCK REALM r PASSWORD '{}'; DELETE FROM called WHERE digest = md5('q')",
	"UNLOCK REALM r PASSWORD \$\${}\$\$",
	"UNLOCK REALM r PASSWORD \$a\${}\$a\$ -- 'x",
	"UNLOCK REALM r PASSWORD U&'{}'",
	"UNLOCK REALM r PASSWORD U&'{}' UESCAPE '!'",
	"SELECT 1; UNLOCK REALM r PASSWORD '{}'; SELECT 2; UNLOCK REALM s PASSWORD '{}'",
	"GRANT VAULT PASSWORD ON REALM r TO someone PASSWORD '{}' VALID FOR INTERVAL '2 HOURS'",
	"CALL tde_vault.unlock_realm('r', '{}')",
	"CALL tde_vault.unlock_realm(password => '{}', realm => 'r')",
	"CALL tde_vault.unlock_realm('r', '{}'::varchar)",
	"SET search_path = tde_vault, public; CALL unlock_realm('r', CAST('{}' AS text))",
	"CALL tde_vault.grant_vault_password('r', 'someone', '{}', NULL, NULL)",
	"CALL tde_vault.set_vault_password('r', 'someone', '{}')",
	"CALL tde_vault.set_vault_password(password => '{}', realm => 'r', role => 'someone')",
	"DO \$\$ BEGIN UNLOCK REALM r PASSWORD '{}'; END \$\$",
	"DO 'BEGIN UNLOCK REALM r PASSWORD ''{}''; END'",
	"DO \$\$ BEGIN EXECUTE 'UNLOCK REALM r PASSWORD ''{}'''; END \$\$",
	"DO \$\$ BEGIN EXECUTE format('UNLOCK REALM r PASSWORD %L', '{}'); END \$\$",
	"DO \$\$ DECLARE p text := '{}'; BEGIN EXECUTE 'UNLOCK REALM r PASSWORD ' || quote_literal(p); END \$\$",
	"DO \$\$ BEGIN CALL tde_vault.unlock_realm('r', '{}'); END \$\$",
	"DO \$\$ BEGIN FOR i IN 1..3 LOOP UNLOCK REALM r PASSWORD '{}'; COMMIT; END LOOP; END \$\$",
	"DO \$\$ BEGIN BEGIN UNLOCK REALM fail PASSWORD 'other'; EXCEPTION WHEN OTHERS THEN UNLOCK REALM r PASSWORD '{}'; END; END \$\$",
	"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN UNLOCK REALM r PASSWORD '{}'; END \$\$; SELECT f(); SELECT f(); DROP FUNCTION f",
	"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS \$\$ CALL tde_vault.unlock_realm('r', '{}') \$\$; SELECT f(); SELECT f(); DROP FUNCTION f",
	"CREATE PROCEDURE p() LANGUAGE plpgsql AS \$\$ BEGIN EXECUTE 'SELECT 1; UNLOCK REALM r PASSWORD ''{}'''; END \$\$; CALL p(); DROP PROCEDURE p");

my ($said) = psql("UNLOCK REALM r PASSWORD 'pä{}€'; SELECT 'ö', nowhere");
like($said, qr/^LINE 1: .*SELECT 'ö', nowhere\n *\^/m, 'cursors behind a password are right');
my ($line, $caret) = $said =~ /^(LINE 1: .*)\n( *)\^/m;
utf8::decode($line);
is(substr($line, length $caret), 'nowhere', '... to the letter');
is($node->safe_psql('secrets', 'SELECT count(*) FROM called'), '0', 'that was one transaction');

# --- statements that fail ---------------------------------------------------------------

fails(@$_)
  foreach (
	[ "UNLOCK REALM fail PASSWORD '{}'", 'wrong password' ],
	[ "UNLOCK REALM r PASSWORD '{}' nonsense", 'nonsense' ],
	[ "UNLOCK REALM r PASSWORD '{}' '{}'", 'syntax error' ],
	[ "UNLOCK REALM r PASWORD '{}'", 'PASWORD' ],
	[ "UNLOCK REALM r '{}'", 'syntax error' ],
	[ "UNLOKC REALM r PASSWORD '{}'", 'UNLOKC' ],
	[ "SELEC 1; UNLOCK REALM r PASSWORD '{}'", 'SELEC' ],
	[ "UNLOCK REALM r PASSWORD '{}'; SELEC 1", 'SELEC' ],
	[ "UNLOCK REALM r PASSWORD '{}", 'unterminated' ],
	[ "UNLOCK REALM r PASSWORD \$x\${}\$y\$", 'unterminated' ],
	[ "UNLOCK REALM r PASSWORD E'{}\\uZZZZ'", 'unterminated' ],
	[ "GRANT VAULT PASSWORD ON REALM r TO nobody x PASSWORD '{}'", 'syntax error' ],
	[ "GRANT VAULT PASWORD ON REALM r TO a PASSWORD '{}'", 'syntax error' ],
	[ "BEGIN; SELECT 1/0; UNLOCK REALM r PASSWORD '{}'", 'division' ],
	[ "CALL tde_vault.unlock_realm('r', '{}', 3)", 'does not exist' ],
	[ "CALL tde_vault.unlock_realm('r', '{}'::int)", 'invalid input syntax' ],
	[ "CALL tde_vault.unlock_realm('r', '{}", 'unterminated' ],
	[ "CALL nowhere.unlock_realm('r', '{}')", 'nowhere' ],
	[ "DO \$\$ BEGIN UNLOCK REALM r PASSWORD '{}'; SELEC 1; END \$\$", 'SELEC' ],
	[ "DO \$\$ BEGIN UNLOCK REALM r PASSWORD PASSWORD '{}'; END \$\$", 'syntax error' ],
	[ "DO \$\$ BEGIN UNLOCK REALM fail PASSWORD '{}'; END \$\$", 'wrong password' ],
	[ "DO \$\$ BEGIN EXECUTE 'UNLOCK REALM r PASSWORD ''{}'' x'; END \$\$", 'syntax error' ],
	[ "DO \$\$ BEGIN EXECUTE 'SELECT 1; UNLOCK REALM r PASSWORD ''{}''; SELECT nowhere'; END \$\$", 'nowhere' ],
	[ "DO \$\$ BEGIN EXECUTE 'UNLOCK REALM r PASSWORD ''{}'; END \$\$", 'unterminated' ],
	[ "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN UNLOCK REALM r PASSWORD '{}'; SELEC; END \$\$", 'SELEC' ],
	[ "CREATE PROCEDURE p() BEGIN ATOMIC CALL tde_vault.unlock_realm('r', '{}'); END", 'a password cannot be given here' ],
	[ "RESTORE DATABASE FROM 'p' DECRYPT WITH KEY 'k' VAULT PASSWORD '{}'", '' ],
	[ "RESTORE DATABASE FROM 'p' DECRYPT WITH KEYS 'k' VAULT PASSWORD '{}'", 'KEYS' ],
	[ "CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:token=t?pin-value={}' KEY_ID 'k'", 'must not hold a PIN' ],
	[ "CREATE MASTER KEY ENCRYPTION BY PROVIDER 'pkcs11:token=t?pin-value={}' KEY_ID k", 'syntax error' ],
	[ "CALL tde_vault.create_master_key('k', 'pkcs11:token=t?pin-value={}')", 'does not exist' ],
	[ "EXPLAIN UNLOCK REALM r PASSWORD '{}'", 'UNLOCK' ],
	[ "PREPARE x AS UNLOCK REALM r PASSWORD '{}'", 'UNLOCK' ]);

# --- passwords of roles -------------------------------------------------------------------

foreach my $sql (
	"CREATE ROLE r1 LOGIN PASSWORD '{}'", "ALTER ROLE r1 WITH ENCRYPTED PASSWORD '{}' VALID UNTIL 'infinity'",
	"ALTER USER r1 PASSWORD '{}'; SELECT 1", "DO \$\$ BEGIN ALTER ROLE r1 PASSWORD '{}'; END \$\$")
{
	my ($out, $marker) = psql("SET password_encryption = md5; $sql");
	unlike($out, qr/ERROR/, $sql);
	$node->sql_is("SELECT rolpassword FROM pg_authid WHERE rolname = 'r1'", 'md5' . md5_hex($marker . 'r1'),
		'... and it is the password', db => 'secrets');
}
fails("ALTER ROLE nobody PASSWORD '{}'", 'does not exist');
fails("CREATE ROLE r1 PASSWORD '{}'", 'already exists');
fails("CREATE ROLE r1 PASSWORD '{}' PASSWORD '{}'", 'redundant');
$node->safe_psql('secrets', "ALTER ROLE r1 PASSWORD NULL; SET password_encryption = md5; ALTER ROLE r1 PASSWORD '********'");
$node->sql_is("SELECT rolpassword FROM pg_authid WHERE rolname = 'r1'", 'md5' . md5_hex('********r1'),
	'a password of stars is one', db => 'secrets');

# --- the extended protocol ----------------------------------------------------------------

my $script = $node->basedir . '/script.sql';
foreach my $mode (qw(extended prepared))
{
	my $marker = new_marker();
	TdeVault::write_file($node, $script,
		"UNLOCK REALM r PASSWORD '$marker';\nSELECT 1;\nCALL tde_vault.unlock_realm('r', '$marker');\n"
		  . "ALTER ROLE r1 PASSWORD '$marker';\nDO \$\$ BEGIN UNLOCK REALM r PASSWORD '$marker'; END \$\$;\n");
	my ($out, $err) = run_command([ 'pgbench', '-n', '-t', '4', '-M', $mode, '-f', $script,
			'-h', $node->host, '-p', $node->port, 'secrets' ]);
	like($out, qr{processed: 4/4}, "pgbench -M $mode") or diag($err);
	$node->sql_is('WITH d AS (DELETE FROM called RETURNING *) SELECT digest, count(*) FROM d GROUP BY 1',
		md5_hex($marker) . '|12', '... each time with the password', db => 'secrets');
}
foreach my $sql ("UNLOCK REALM r PASSWORD :p;\n", "CALL tde_vault.unlock_realm('r', :p);\n",
	"CALL tde_vault.unlock_realm(password => :p, realm => 'r');\n",
	"CALL tde_vault.grant_vault_password('r', 'someone', :p, NULL, NULL);\n")
{
	my $marker = new_marker();
	TdeVault::write_file($node, $script, $sql);
	my ($out, $err) = run_command([ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-D', "p=$marker", '-f', $script,
			'-h', $node->host, '-p', $node->port, 'secrets' ]);
	like($err, qr/ERROR:/, "a parameter cannot carry it: $sql");
	$node->sql_is('SELECT count(*) FROM called', '0', '... and nothing is done', db => 'secrets');
}

# --- while it runs, and when it is killed ---------------------------------------------------

# Hold the lock that realm hang waits for, until this session is terminated.
my ($nothing, $out, $err) = ('', '', '');
my @psql = ('psql', '-X', '-d', $node->connstr('secrets'), '-c');
sub hold { return IPC::Run::start([ @psql, 'BEGIN; SELECT pg_advisory_xact_lock(1); SELECT pg_sleep(600)' ], \$nothing, \$out, \$err); }

my $holder = hold();
my $sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
my $waiting = "FROM pg_stat_activity WHERE wait_event = 'advisory'";
my $pid;
foreach my $how ('CALL tde_vault.unlock_realm(\'hang\', \'{}\')', 'DO $$ BEGIN UNLOCK REALM hang PASSWORD \'{}\'; END $$',
	'UNLOCK REALM hang PASSWORD \'{}\'')
{
	my $marker = new_marker();
	(my $sql = $how) =~ s/\{\}/$marker/g;
	$node->poll_query_until('secrets', "SELECT count(*) = 1 $sleeping") or die 'nobody holds the lock';
	my $hanging = IPC::Run::start([ @psql, $sql ], \$nothing, \$out, \$err);
	$node->poll_query_until('secrets', "SELECT count(*) = 1 $waiting") or die 'nobody waits';
	my $shown = $node->safe_psql('secrets', "SELECT query $waiting");
	like($shown, qr/^(UNLOCK|CALL|DO)\b.*\*\*\*/s, "pg_stat_activity has stars: $how");
	unlike($shown, qr/\Q$marker\E/, '... and not the password');
	$pid = $node->safe_psql('secrets', "SELECT pid $waiting");
	$node->safe_psql('secrets', "SELECT pg_log_backend_memory_contexts($pid)");
	last if $how =~ /^UNLOCK/;
	$node->safe_psql('secrets', "SELECT pg_terminate_backend($pid, 10000)");
	$hanging->finish;
}
kill('KILL', $pid) == 1 or die "kill: $!";
$holder->finish;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
until (server_log() =~ /all server processes terminated; reinitializing/)
{
	die 'no restart' if time > $deadline;
	select(undef, undef, undef, 0.1);
}
$node->wait_until_ready or die 'not ready';
like(server_log(), qr/Failed process was running: UNLOCK REALM hang PASSWORD '\*{24}'/, 'so has the message about the crash');

# --- statistics -------------------------------------------------------------------------------

my $statements = $node->safe_psql('secrets', 'SELECT query FROM pg_stat_statements');
my $prepared = $node->safe_psql('secrets', 'SELECT count(*) FROM pg_stat_statements');
psql("UNLOCK REALM r PASSWORD '{}'") foreach 1 .. 3;
psql("DO \$\$ BEGIN UNLOCK REALM r PASSWORD '{}'; END \$\$");
psql("DO \$\$ BEGIN EXECUTE 'UNLOCK REALM r PASSWORD ''{}'''; END \$\$");
$statements = $node->safe_psql('secrets', 'SELECT query FROM pg_stat_statements');
like($statements, qr/^UNLOCK REALM r PASSWORD '\*{24}'$/m, 'pg_stat_statements has the statement with stars');
my $control = TdeVault::marker('no password');
$node->safe_psql('secrets', "SELECT '$control' AS password");
$node->safe_psql('secrets', "COMMENT ON TABLE called IS '$control'");
$statements = $node->safe_psql('secrets', 'SELECT query FROM pg_stat_statements');
$node->stop;

# --- and now look ---------------------------------------------------------------------------------

my $log = server_log();
my $statistics = slurp_file($node->data_dir . '/pg_stat/pg_stat_statements.stat');
cmp_ok(length $log, '>', 1_000_000, 'the server has said a lot');
like($log, qr/\Q$control\E/, 'an ordinary literal is in the log');
like($statements, qr/\Q$control\E/, '... and in the statistics');
like($log, qr/statement: UNLOCK REALM r PASSWORD '\*{24}'/, 'log_statement has the statement with stars');
like($log, qr/duration: [^\n]* UNLOCK REALM r PASSWORD '\*{24}'/, 'so has log_min_duration_statement');
like($log, qr/STATEMENT: *UNLOCK REALM fail PASSWORD '\*{24}'/, 'so have STATEMENT lines');
my @in_log = grep { $log =~ /\Q$_\E/ } @markers;
is("@in_log", '', 'no password of ' . @markers . ' is in the log');
diag(substr($log, index($log, $_) - 200, 400)) foreach @in_log;
is(join(' ', grep { $statements =~ /\Q$_\E/ } @markers), '', '... nor in pg_stat_statements');
is(join(' ', grep { $statistics =~ /\Q$_\E/ } @markers), '', '... nor in its file');
done_testing();
