# The statements of the vault as calls: which procedure, with which values.  The
# procedures here are stand-ins that note how they were called.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PGCLIENTENCODING} = 'UTF8';
my $node = TdeVault->create('main', master => '');
$node->safe_psql('postgres', "CREATE DATABASE calls TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");

# name => parameters; "generated" and "id" at the end stand for OUT parameters
my %procedure = (
	enable_vault             => 'database text DEFAULT NULL',
	disable_vault            => 'database text DEFAULT NULL',
	create_realm             => 'realm text, description text DEFAULT NULL, owner text DEFAULT NULL, '
	  . 'require_password boolean DEFAULT false, simulate boolean DEFAULT false, if_not_exists boolean DEFAULT false',
	drop_realm               => 'realm text, if_exists boolean DEFAULT false',
	realm_add                => 'realm text, tables text[], schemas text[]',
	realm_remove             => 'realm text, tables text[], schemas text[]',
	realm_owner              => 'realm text, owner text',
	realm_description        => 'realm text, description text',
	realm_mode               => 'realm text, mode text',
	realm_authorize          => 'realm text, roles text[]',
	realm_revoke             => 'realm text, roles text[]',
	grant_vault_password     => 'realm text, role text, password text, valid_for interval, OUT generated text',
	set_vault_password       => 'realm text, role text, password text, valid_for interval DEFAULT NULL',
	revoke_vault_password    => 'realm text, role text',
	unlock_realm             => 'realm text, password text',
	lock_realm               => 'realm text DEFAULT NULL',
	emergency_unlock         => 'realm text, authorized_by text, reason text, valid_for interval, OUT id bigint',
	approve_emergency_unlock => 'id bigint',
	review_emergency_unlock  => 'id bigint, note text',
	create_command_rule      => 'rule text, actions text[], object_kind text, object text DEFAULT NULL, '
	  . 'roles text[] DEFAULT NULL, condition text DEFAULT NULL, message text DEFAULT NULL, '
	  . 'simulate boolean DEFAULT false, if_not_exists boolean DEFAULT false',
	alter_command_rule       => 'rule text, mode text',
	drop_command_rule        => 'rule text, if_exists boolean DEFAULT false');

my $setup = 'CREATE SCHEMA tde_vault; CREATE TABLE called (n serial, call text);';
foreach my $name (sort keys %procedure)
{
	my @in = map { /^(\w+)/ } grep { !/^OUT/ } map { s/^ +//r } split /,/, $procedure{$name};
	my ($out) = $procedure{$name} =~ /OUT (\w+)/;
	my $answer = !$out ? '' : "$name.$out := " . ($out eq 'id' ? 42 : "'made'") . ';';
	my $given = join ', ', map { "'$_', $name.$_" } @in;
	$setup .= "CREATE PROCEDURE tde_vault.$name($procedure{$name}) LANGUAGE plpgsql AS \$\$ "
	  . "BEGIN INSERT INTO called (call) VALUES ('$name '::text || "
	  . "jsonb_strip_nulls(jsonb_build_object($given))); $answer END \$\$;\n";
}
$node->safe_psql('calls', $setup);

sub psql
{
	my ($sql) = @_;
	my ($out, $err) = run_command([ 'psql', '-X', '-A', '-t', '-d', $node->connstr('calls'), '-c', $sql ]);
	return $err eq '' ? $out : $err;
}

sub calls_ok
{
	my ($sql, $tag, $call) = @_;
	is(psql($sql), $tag, $sql);
	is($node->safe_psql('calls', 'WITH d AS (DELETE FROM called RETURNING *) SELECT call FROM d ORDER BY n'),
		$call, '... calls');
	return;
}

my $no = '"simulate": false';
my $new = '"if_not_exists": false';
my @cases = (
	[ 'ALTER DATABASE ENABLE DATABASE VAULT', 'ALTER DATABASE', 'enable_vault {}' ],
	[ 'ALTER DATABASE "D b" DISABLE DATABASE VAULT', 'ALTER DATABASE', 'disable_vault {"database": "D b"}' ],
	[ 'CREATE REALM pii_protection OWNER security_team', 'CREATE REALM',
		qq(create_realm {"owner": "security_team", "realm": "pii_protection", $no, $new, "require_password": false}) ],
	[ q(create realm IF NOT EXISTS "Re alm" DESCRIPTION E'it\'s' OWNER CURRENT_USER REQUIRE VAULT PASSWORD SIMULATE),
		'CREATE REALM', qq(create_realm {"owner": "postgres", "realm": "Re alm", "simulate": true, )
		  . qq("description": "it's", "if_not_exists": true, "require_password": true}) ],
	[ 'ALTER REALM r ADD TABLE a.b, "C" , SCHEMA "s s", t2, TABLE select_, d.e."F"', 'ALTER REALM',
		'realm_add {"realm": "r", "tables": ["a.b", "\"C\"", "select_", "d.e.\"F\""], "schemas": ["\"s s\"", "t2"]}' ],
	[ 'ALTER REALM r REMOVE SCHEMA schema', 'ALTER REALM',
		'realm_remove {"realm": "r", "tables": [], "schemas": ["schema"]}' ],
	[ 'ALTER REALM r ADD TABLE public.table', 'ALTER REALM',
		'realm_add {"realm": "r", "tables": ["public.\"table\""], "schemas": []}' ],
	[ 'ALTER REALM r OWNER TO o', 'ALTER REALM', 'realm_owner {"owner": "o", "realm": "r"}' ],
	[ 'ALTER REALM r DESCRIPTION $$x$$', 'ALTER REALM', 'realm_description {"realm": "r", "description": "x"}' ],
	[ 'ALTER REALM r simulate', 'ALTER REALM', 'realm_mode {"mode": "simulate", "realm": "r"}' ],
	[ 'ALTER REALM r AUTHORIZE a, SESSION_USER, "session_user"', 'ALTER REALM',
		'realm_authorize {"realm": "r", "roles": ["a", "postgres", "session_user"]}' ],
	[ 'ALTER REALM r REVOKE U&"\0061"', 'ALTER REALM', 'realm_revoke {"realm": "r", "roles": ["a"]}' ],
	[ 'DROP REALM IF EXISTS r', 'DROP REALM', 'drop_realm {"realm": "r", "if_exists": true}' ],
	[ q(GRANT VAULT PASSWORD ON REALM r TO a), 'made',
		'grant_vault_password {"role": "a", "realm": "r"}' ],
	[ q(GRANT VAULT PASSWORD ON REALM r TO a PASSWORD 'p' VALID FOR INTERVAL '2 HOURS'), 'GRANT VAULT PASSWORD',
		'set_vault_password {"role": "a", "realm": "r", "password": "p", "valid_for": "02:00:00"}' ],
	[ q(GRANT VAULT PASSWORD ON REALM r TO a VALID FOR INTERVAL '1:02' HOUR TO MINUTE PASSWORD U&'!0070' UESCAPE '!'),
		'GRANT VAULT PASSWORD',
		'set_vault_password {"role": "a", "realm": "r", "password": "p", "valid_for": "01:02:00"}' ],
	[ 'REVOKE VAULT PASSWORD ON REALM r FROM a', 'REVOKE VAULT PASSWORD', 'revoke_vault_password {"role": "a", "realm": "r"}' ],
	[ q(UNLOCK REALM r PASSWORD 'p''q\\'), 'UNLOCK REALM', 'unlock_realm {"realm": "r", "password": "p\'q\\\\"}' ],
	[ 'LOCK REALM r', 'LOCK REALM', 'lock_realm {"realm": "r"}' ],
	[ 'LOCK REALM ALL', 'LOCK REALM', 'lock_realm {}' ],
	[ q(EMERGENCY UNLOCK REALM r AUTHORIZED BY security_officer REASON 'why' VALID FOR INTERVAL '1 HOUR'),
		'42',
		'emergency_unlock {"realm": "r", "reason": "why", "valid_for": "01:00:00", "authorized_by": "security_officer"}' ],
	[ 'APPROVE EMERGENCY UNLOCK 5000000000', 'APPROVE EMERGENCY UNLOCK', 'approve_emergency_unlock {"id": 5000000000}' ],
	[ q(REVIEW EMERGENCY UNLOCK 7 NOTE 'ok'), 'REVIEW EMERGENCY UNLOCK', 'review_emergency_unlock {"id": 7, "note": "ok"}' ],
	[ q(CREATE COMMAND RULE no_delete FOR DELETE ON TABLE s."T" DENY WHEN HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17),
		'CREATE COMMAND RULE', 'create_command_rule {"rule": "no_delete", "object": "s.\"T\"", "actions": ["delete"], '
		  . qq($no, "condition": "HOUR(CURRENT_TIMESTAMP) NOT BETWEEN 9 AND 17", "object_kind": "table", $new}) ],
	[ q(CREATE COMMAND RULE IF NOT EXISTS n FOR SELECT, copy ON COLUMN t.c DENY FROM ROLE a, b WHEN ( x = ';') MESSAGE 'No.' SIMULATE),
		'CREATE COMMAND RULE', 'create_command_rule {"rule": "n", "roles": ["a", "b"], "object": "t.c", '
		  . '"actions": ["select", "copy"], "message": "No.", "simulate": true, "condition": "( x = \';\')", '
		  . '"object_kind": "column", "if_not_exists": true}' ],
	[ 'CREATE COMMAND RULE n FOR ALL ON DATABASE DENY', 'CREATE COMMAND RULE',
		qq(create_command_rule {"rule": "n", "actions": ["all"], $no, "object_kind": "database", $new}) ],
	[ 'CREATE COMMAND RULE n FOR ALL ON REALM "R 1" DENY', 'CREATE COMMAND RULE',
		qq(create_command_rule {"rule": "n", "object": "R 1", "actions": ["all"], $no, "object_kind": "realm", $new}) ],
	[ 'ALTER COMMAND RULE n DISABLE', 'ALTER COMMAND RULE', 'alter_command_rule {"mode": "disable", "rule": "n"}' ],
	[ 'DROP COMMAND RULE n', 'DROP COMMAND RULE', 'drop_command_rule {"rule": "n", "if_exists": false}' ],

	# several at once, and with ordinary ones
	[ q(SELECT 'é'; DROP REALM a; SELECT 2; DROP REALM b; ), "é\nDROP REALM\n2\nDROP REALM",
		qq(drop_realm {"realm": "a", "if_exists": false}\ndrop_realm {"realm": "b", "if_exists": false}) ],
	[ q(SET standard_conforming_strings = off; CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a = 'x' AND b = 1), "SET\nCREATE COMMAND RULE",
		qq(create_command_rule {"rule": "n", "actions": ["all"], $no, "condition": "a = 'x' AND b = 1", "object_kind": "database", $new}) ]);
calls_ok(@$_) foreach @cases;

# --- a backslash means the same whenever the condition is read again ---------------

my ($off) = run_command([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('calls'),
		'-c', 'SET standard_conforming_strings = off; SET escape_string_warning = off',
		'-c', q(CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a = 'it\'s \\\\' AND b),
		'-c', q(WITH d AS (DELETE FROM called RETURNING *) SELECT substr(call, 21)::jsonb ->> 'condition' FROM d) ]);
like($off, qr/^a =  ?E'it''s \\\\' AND b$/m, 'strings of the old syntax are written in a safe one');

# --- syntax errors are where they are ------------------------------------------------

my @wrong = (
	[ "CREATE REALM r OWNER 'x'", qr/at or near "'x'"/, 22 ],
	[ 'CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a =', qr/at end of input/, 56 ],
	[ "CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a = MESSAGE 'x'", qr/at or near "MESSAGE"/, 57 ],
	[ "SELECT 'ä'; CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN b IN 5 SIMULATE", qr/at or near "5"/, 70 ],
	[ "SELECT 'ä'; CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a + SIMULATE; SELECT 1", qr/at or near "SIMULATE"/, 69 ],
	[ 'CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a, b', qr/at or near ","/, 54 ],
	[ 'CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a AS b', qr/at or near "AS"/, 55 ],
	[ 'CREATE COMMAND RULE n FOR ALL ON DATABASE DENY WHEN a FROM t', qr/at or near "FROM"/, 55 ],
	[ "UNLOCK REALM r PASSWORD \$1", qr/at or near "\$1"/, 25 ],
	[ 'UNLOCK REALM r; SELEC', qr/at or near ";"/, 15 ],
	[ 'LOCK REALM', qr/LOCK TABLE can only be used/, 0 ],
	[ 'UNLOCK TABLE r', qr/at or near "UNLOCK"/, 1 ],
	[ 'EXPLAIN DROP REALM r', qr/at or near "DROP"/, 9 ]);
foreach my $case (@wrong)
{
	my ($sql, $message, $position) = @$case;
	my ($rc, $out, $err) = $node->psql('calls', "\\set VERBOSITY verbose\n$sql");
	like($err, $message, "refused: $sql");
	my ($line, $caret) = $err =~ /^LINE \d+: (.*)\n( *)\^/m;
	is($caret ? length(decode_utf8($caret)) - length('LINE 1: ') + 1 : 0, $position, '... at')
	  if length($sql) < 60 || !$caret;
}

sub decode_utf8 { my ($s) = @_; utf8::decode($s); return $s; }

# positions as the protocol gives them, also behind letters of two bytes
$node->safe_psql('calls', <<'SQL');
CREATE TABLE asked (position int, sql text);
SQL
my ($rc, $out, $err) = $node->psql('calls', $wrong[3][0]);
my ($shown, $caret) = $err =~ /^LINE 1: (.*)\n(.*)\^/m;
is(substr(decode_utf8($shown), length($caret) - 8, 10), '5 SIMULATE', 'the cursor is at the right letter');

# --- PL/pgSQL, functions, protocols -----------------------------------------------------

$node->safe_psql('calls', <<'SQL');
DO $$
DECLARE made text; realm text := 'x';
BEGIN
	DROP REALM a;
	EXECUTE 'DROP REALM b; DROP REALM c';
	GRANT VAULT PASSWORD ON REALM d TO e INTO made;
	EXECUTE 'GRANT VAULT PASSWORD ON REALM d TO e' INTO made;
	ASSERT made = 'made' AND realm = 'x';
END $$;
SQL
$node->sql_is('WITH d AS (DELETE FROM called RETURNING *) SELECT count(*) FROM d', '5', 'PL/pgSQL', db => 'calls');
my $script = $node->basedir . '/script.sql';
TdeVault::write_file($node, $script, "DROP REALM r;\nSELECT 1 AS realm;\nUNLOCK REALM r PASSWORD 'p';\nLOCK REALM ALL;\n");
foreach my $mode (qw(simple extended prepared))
{
	($out, $err) = run_command([ 'pgbench', '-n', '-t', '3', '-M', $mode, '-f', $script,
			'-h', $node->host, '-p', $node->port, 'calls' ]);
	like($out, qr{processed: 3/3}, "pgbench -M $mode");
	$node->sql_is('WITH d AS (DELETE FROM called RETURNING *) SELECT count(*) FROM d WHERE call ~ \'"p"|drop|lock_realm\'',
		'9', '... calls', db => 'calls');
}

# --- the words are still names -----------------------------------------------------------

$node->safe_psql('calls', <<'SQL');
CREATE TABLE realm (vault int, unlock int, emergency int, command int, password text);
CREATE TABLE vault (realm int);
CREATE FUNCTION unlock(realm int) RETURNS int LANGUAGE sql AS 'SELECT realm';
BEGIN; LOCK realm; LOCK REALM NOWAIT; LOCK TABLE realm; LOCK realm, vault IN SHARE MODE; COMMIT;
CREATE ROLE vault; CREATE ROLE password; GRANT vault TO password; REVOKE vault FROM password;
GRANT SELECT ON realm TO vault;
SELECT unlock(1) AS vault, emergency realm FROM realm AS command;
DROP TABLE realm, vault;
SQL
pass('ordinary statements with our words');
$node->stop;
done_testing();
