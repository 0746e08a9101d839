# The audit log, borrowed: while a vault is on a superuser does not read it, but
# can store code that an auditor runs, with the auditor's right: functions,
# triggers, defaults, views, rules, policies; or that is given what the auditor
# has read: by the search path, an operator, a check.  None of it has a line.
# More of rows 3, 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE ROLE inspector LOGIN;
CREATE ROLE colleague LOGIN;
CREATE TABLE public.loot (v text);
CREATE TABLE public.inbox (id int, v text);
INSERT INTO public.inbox VALUES (1, 'x');
GRANT ALL ON public.loot, public.inbox TO PUBLIC;
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SQL
run_as('security', 'GRANT vault_auditor TO inspector, colleague;');
my $lines = q{(SELECT string_agg(line::text, '') FROM tde_vault.audit_lines())};
my $log = q{(SELECT string_agg(event_type, '') FROM tde_vault.audit_log)};
my $function = qr/TV036: function "\w+" may not have lines of the audit log/;
my $query = qr/TV036: the audit log is not read by a statement with a view, rule or policy of somebody else/;
like(run_as('mallory', 'SELECT count(*) FROM tde_vault.audit_lines();'), qr/permission denied for the audit log/, 'mallory does not read it');

# Stored by mallory, sprung by the inspector.
sub sprung
{
	my ($name, $make, $spring, $expected, $clean) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unlike(run_as('mallory', "$make; GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;"), qr/ERROR/, "$name: stored");
	my $said = run_as('inspector', "$spring;");
	like($said, $expected, "$name: refused");
	unlike($said, qr/Asynchronous notification/, "$name: nothing is sent");
	is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", "$name: nothing is taken") or diag($said);
	run_as('mallory', "$clean;");	# VACUUM: that there was a rule is remembered until then
	return;
}

# --- with the auditor's right ----------------------------------------------------------------

foreach my $read ($lines, $log)
{
	my $steal = "INSERT INTO public.loot SELECT $read";
	my $drop = 'DROP FUNCTION public.trap CASCADE';

	sprung("$_->[0]: $read", $_->[1], $_->[2], $_->[3], $_->[4])
	  foreach (
		[ 'function', "CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS \$\$BEGIN $steal; RETURN 1; END\$\$", 'SELECT public.trap()', $function, $drop ],
		[ 'function in SQL', "CREATE FUNCTION public.trap() RETURNS int LANGUAGE sql AS \$\$$steal; SELECT 1\$\$", 'SELECT public.trap()', $function, $drop ],
		[ 'function that could be inlined', "CREATE FUNCTION public.trap() RETURNS text LANGUAGE sql STABLE AS \$\$SELECT $read\$\$", 'INSERT INTO public.loot SELECT public.trap()', $function, $drop ],
		[ 'table function', "CREATE FUNCTION public.trap() RETURNS SETOF text LANGUAGE sql STABLE AS \$\$SELECT $read\$\$", 'INSERT INTO public.loot SELECT * FROM public.trap()', $function, $drop ],
		[ 'function in BEGIN ATOMIC', "CREATE FUNCTION public.trap() RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT $read; END", 'INSERT INTO public.loot SELECT public.trap()', $function, $drop ],
		[ 'procedure', "CREATE PROCEDURE public.trap() LANGUAGE plpgsql AS \$\$BEGIN COMMIT; $steal; END\$\$", 'CALL public.trap()', $function, 'DROP PROCEDURE public.trap' ],
		[ 'trigger', "CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $steal; RETURN NEW; END\$\$; CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trap()", 'INSERT INTO public.inbox VALUES (1)', $function, $drop ],
		[ 'event trigger', "CREATE FUNCTION public.trap() RETURNS event_trigger LANGUAGE plpgsql AS \$\$BEGIN IF session_user = 'inspector' THEN $steal; END IF; END\$\$; CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION public.trap()", 'CREATE TEMP TABLE mine (id int)', $function, "DROP EVENT TRIGGER t; $drop" ],
		[ 'view', "CREATE VIEW public.seen AS SELECT $read AS v", 'INSERT INTO public.loot SELECT v FROM public.seen', $query, 'DROP VIEW public.seen' ],
		[ 'view that sends', "CREATE VIEW public.seen AS SELECT pg_notify('loot', left($read, 1000)) IS NULL AS v", 'LISTEN loot; SELECT v FROM public.seen', $query, 'DROP VIEW public.seen' ],
		[ 'view with the rights of its user', "CREATE VIEW public.seen WITH (security_invoker) AS SELECT $read AS v", 'INSERT INTO public.loot SELECT v FROM public.seen', $query, 'DROP VIEW public.seen' ],
		[ 'rule', "CREATE RULE r AS ON INSERT TO public.inbox DO ALSO $steal", 'INSERT INTO public.inbox VALUES (1)', $query, 'DROP RULE r ON public.inbox; VACUUM public.inbox' ],
		[ 'policy', "ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING (pg_notify('loot', left($read, 1000)) IS NOT NULL)", 'LISTEN loot; SELECT * FROM public.inbox', $query, 'DROP POLICY p ON public.inbox; ALTER TABLE public.inbox DISABLE ROW LEVEL SECURITY' ],
		[ 'default that is told', "ALTER TABLE public.inbox ALTER v SET DEFAULT query_to_xml(\$q\$SELECT $read\$q\$, true, true, '')::text", 'INSERT INTO public.inbox (id) VALUES (1)', $function, 'ALTER TABLE public.inbox ALTER v DROP DEFAULT' ]);
}
unlike(run_as('mallory', 'SELECT string_agg(v, $$ $$) FROM public.inbox;'), qr/event_id|VAULT|GUARD/, 'nor did a default keep one');

# --- given what the auditor has read -----------------------------------------------------------

my $take = 'LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$';
sprung("$_->[0]", $_->[1], $_->[2], $_->[3], $_->[4])
  foreach (
	[ 'search path', "CREATE FUNCTION evil.upper(text) RETURNS text $take", 'SET search_path = evil, pg_catalog; SELECT count(upper(event_type)) FROM tde_vault.audit_log', $function, 'DROP FUNCTION evil.upper(text)' ],
	[ 'operator', 'CREATE FUNCTION evil.same(text, int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN true; END$$; CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = int, FUNCTION = evil.same)', 'SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 1', $function, 'DROP OPERATOR public.= (text, int); DROP FUNCTION evil.same' ],
	[ 'a variable', "CREATE FUNCTION public.trap(text) RETURNS text $take", "DO \$\$DECLARE v text; BEGIN v := $log; COMMIT; PERFORM public.trap(v); END\$\$", $function, 'DROP FUNCTION public.trap' ],
	[ 'trigger', 'CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (NEW.v); RETURN NULL; END$$; CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trap()', 'INSERT INTO public.inbox SELECT 1, event_type FROM tde_vault.audit_log', $function, 'DROP FUNCTION public.trap CASCADE' ],
	[ 'check that sends', "ALTER TABLE public.inbox ADD CHECK (pg_notify('loot', v) IS NOT NULL) NOT VALID", 'LISTEN loot; INSERT INTO public.inbox SELECT 1, event_type FROM tde_vault.audit_log', qr/function "pg_notify" may not be called by an expression that is stored/, 'ALTER TABLE public.inbox DROP CONSTRAINT inbox_v_check' ]);

# --- in a database of which a superuser can make anything ------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('plain', 'CREATE EXTENSION tde_vault');
unlike(run_as('mallory', q{CREATE TABLE public.loot (v text); GRANT ALL ON public.loot TO PUBLIC; CREATE OR REPLACE FUNCTION public.trap(text) RETURNS text } . $take . '; CREATE SCHEMA evil;', database => 'plain'), qr/ERROR/, 'a function in a database without a vault');
like(run_as('inspector', "SELECT $log;", database => 'plain'), qr/TV036: the audit log is not read in this database while a vault is on in another.*HINT/s, 'there the log is not read');
is(run_as('mallory', 'SELECT count(*) FROM public.loot;', database => 'plain'), "0\n", 'nothing is taken');

# --- what goes on -----------------------------------------------------------------------------------

run_as('mallory', 'CREATE FUNCTION public.harmless() RETURNS int LANGUAGE sql AS $$SELECT 1$$;');
run_as('colleague', "CREATE FUNCTION public.report() RETURNS bool LANGUAGE plpgsql AS \$\$BEGIN RETURN length($log) > 0; END\$\$; CREATE VIEW public.reports AS SELECT event_type FROM tde_vault.audit_log; GRANT SELECT ON public.reports TO PUBLIC;");
foreach my $case (
	[ 'the view', 'SELECT count(*) > 20 FROM tde_vault.audit_log', qr/^t$/m ],
	[ 'the function', 'SELECT count(*) > 20 FROM tde_vault.audit_lines()', qr/^t$/m ],
	[ 'with catalogs and plain tables', 'SELECT count(*) > 0 FROM tde_vault.audit_log a JOIN pg_roles r ON r.rolname = a."user", public.inbox', qr/^t$/m ],
	[ 'in a block', "DO \$\$BEGIN RAISE NOTICE '%', length($log) > 0; END\$\$", qr/NOTICE: .* t$/m ],
	[ 'by a function of one\'s own', "CREATE FUNCTION pg_temp.f() RETURNS bool LANGUAGE sql AS \$\$SELECT $log <> ''\$\$; SELECT pg_temp.f()", qr/^t$/m ],
	[ 'by a view of one\'s own', "CREATE TEMP VIEW v AS SELECT $log AS v; SELECT v <> '' FROM v", qr/^t$/m ],
	[ 'by a function of a colleague', 'SELECT public.report()', qr/^t$/m ],
	[ 'by a view of a colleague', 'SELECT count(*) > 20 FROM public.reports', qr/^t$/m ],
	[ 'COPY', 'COPY (SELECT count(*) > 20 FROM tde_vault.audit_log) TO STDOUT', qr/^t$/m ],
	[ 'a table of one\'s own', 'CREATE TEMP TABLE t AS SELECT event_type FROM tde_vault.audit_log; SELECT count(*) > 20 FROM t', qr/^t$/m ],
	[ 'a cursor', 'BEGIN; DECLARE c CURSOR FOR SELECT event_type <> $$$$ FROM tde_vault.audit_log; FETCH 1 FROM c; COMMIT', qr/^t$/m ],
	[ 'told by oneself', "SELECT query_to_xml(\$q\$SELECT $log <> '' AS x\$q\$, true, true, '')", qr/<x>true/ ],
	[ 'audit_verify', 'SELECT ok FROM tde_vault.audit_verify()', qr/^t$/m ],
	[ 'afterwards others\' functions', 'SELECT count(*) > 20 FROM tde_vault.audit_log; SELECT public.harmless()', qr/^t\n1$/m ])
{
	like(run_as('inspector', "$case->[1];"), $case->[2], "control: $case->[0]");
}
like(run_as('inspector', q{SELECT count(*) > 20 FROM tde_vault.audit_log WHERE result = 'DENIED' AND "user" = 'inspector' AND object ~ 'audit log';}), qr/^t$/m, 'what was refused is in the log');
$node->stop;
done_testing();
