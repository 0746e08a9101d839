# Jobs of pg_cron against a realm: row 24 of the list of threats.  A job is a
# session of its own, and so locked: of a superuser, of the tables' owner, of an
# authorized role, and in the name of one by a superuser; whether pg_cron
# connects or starts background workers.  The latter act as whom they are told
# to: nobody has logged in, and so they have neither realms nor offices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = realm_server(
	conf => "shared_preload_libraries = 'tde_vault,pg_cron'\ncron.database_name = 'postgres'\ncron.max_running_jobs = 16\nmax_worker_processes = 24\n",
	sql => <<'SQL');
CREATE EXTENSION pg_cron;
GRANT USAGE ON SCHEMA cron TO PUBLIC;
CREATE TABLE public.loot (who text DEFAULT current_user, v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE TABLE secret.notes (v text) USING tde_heap;
INSERT INTO secret.notes VALUES ('a note');
GRANT ALL ON secret.notes TO PUBLIC;
CREATE FUNCTION public.reads() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO public.loot (v) SELECT ssn FROM secret.patients';
ALTER FUNCTION public.reads() OWNER TO alice;
SQL
like(run_as('security', q{CALL tde_vault.create_realm('open'); CALL tde_vault.realm_add('open', ARRAY['secret.notes']); CALL tde_vault.realm_authorize('open', ARRAY['alice']);}),
	qr/^(?!.*ERROR).*^CALL\n\z/ms, 'a realm that needs no password');
$node->append_conf('postgresql.conf', q{cron.host = '} . $node->host . q{'});
$node->restart;

my %why = (mallory => qr/not authorized for realm "pii"/, owner => qr/not authorized for realm "pii"/, alice => qr/vault password required/);
my %job = (
	select => 'INSERT INTO public.loot (v) SELECT ssn FROM secret.patients',
	temporary => 'CREATE TEMP TABLE t AS TABLE secret.patients; INSERT INTO public.loot (v) SELECT ssn FROM t',
	do => q{DO $$BEGIN INSERT INTO public.loot (v) SELECT v FROM secret.small; END$$},
	copy => 'COPY secret.patients TO STDOUT',
	definer => 'SELECT public.reads()');
my %expected;
foreach my $who (qw(mallory owner alice))
{
	foreach my $name (sort keys %job)
	{
		like(run_as($who, "SELECT cron.schedule('$who $name', '\@reboot', \$job\$$job{$name}\$job\$);"), qr/^\d+$/m, "$who schedules: $name");
		$expected{"$who $name"} = $why{$who};
	}
}
# in the name of alice, by a superuser
like(run_as('mallory', q{INSERT INTO cron.job (jobname, schedule, command, nodename, nodeport, username) SELECT 'forged', '@reboot', 'INSERT INTO public.loot (v) SELECT ssn FROM secret.patients', nodename, nodeport, 'alice' FROM cron.job LIMIT 1;}), qr/^INSERT 0 1$/m, 'mallory makes a job of alice');
like(run_as('mallory', q{SET SESSION AUTHORIZATION alice; SELECT cron.schedule('borrowed', '@reboot', $$UNLOCK REALM pii PASSWORD 'guess'; INSERT INTO public.loot (v) SELECT ssn FROM secret.patients$$);}), qr/^\d+$/m, 'and another');
like(run_as('mallory', q{SELECT cron.schedule('becomes', '@reboot', $$SET ROLE alice; INSERT INTO public.loot (v) SELECT ssn FROM secret.patients$$);}), qr/^\d+$/m, 'and one that becomes alice');
like(run_as('mallory', q{SELECT cron.schedule('off', '@reboot', $$ALTER REALM pii DISABLE$$);}), qr/^\d+$/m, 'and one that switches the realm off');
%expected = (%expected, forged => $why{alice}, borrowed => qr/is not correct/, becomes => $why{mallory}, off => qr/only a vault administrator/);
# controls: what jobs may
like(run_as('alice', q{SELECT cron.schedule('allowed', '@reboot', $$INSERT INTO public.loot (v) SELECT 'read ' || v FROM secret.notes$$);}), qr/^\d+$/m, 'alice schedules what needs no password');
like(run_as('mallory', q{SELECT cron.schedule('harmless', '@reboot', $$INSERT INTO public.loot (v) SELECT 'read ' || v FROM public.plain$$);}), qr/^\d+$/m, 'mallory schedules what is not protected');
like(run_as('mallory', q{SELECT cron.schedule('denied', '@reboot', $$INSERT INTO public.loot (v) SELECT v FROM secret.notes$$);}), qr/^\d+$/m, 'and what is');
$expected{denied} = qr/not authorized for realm "open"/;
my $jobs = keys(%expected) + 2;

# pg_cron may run a job as it is scheduled, if it has just started
my $since = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
foreach my $how ('connections', 'background workers')
{
	$node->append_conf('postgresql.conf', 'cron.use_background_workers = ' . ($how eq 'connections' ? 'off' : 'on'));
	$node->safe_psql('postgres', 'TRUNCATE public.loot, cron.job_run_details');
	my $from = -s $node->logfile;
	$node->restart;
	ok($node->poll_query_until('postgres', "SELECT count(*) = $jobs FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')"), "$how: every job has run")
	  or diag($node->safe_psql('postgres', 'SELECT command, status, return_message FROM cron.job_run_details'));
	my $log = slurp_file($node->logfile, $from);
	if ($how eq 'background workers')
	{
		$expected{$_} = qr/not authorized for realm "pii"/ foreach 'forged', grep { /^alice / } keys %expected;
		$expected{allowed} = qr/not authorized for realm "open"/;
		$expected{borrowed} = qr/UNLOCK REALM/;
	}
	foreach my $name (sort keys %expected)
	{
		my $said = $node->safe_psql('postgres', "SELECT d.status || ': ' || coalesce(d.return_message, '') FROM cron.job_run_details d JOIN cron.job j USING (jobid) WHERE j.jobname = '$name'");
		like($said, qr/^failed/, "$how: $name fails");
		# a background worker reports to the log alone
		like($how eq 'connections' ? $said : $log, $expected{$name}, "$how: $name: refused by the vault");
	}
	is($node->safe_psql('postgres', 'SELECT string_agg(who || \' \' || v, \', \' ORDER BY who) FROM public.loot'), $how eq 'connections' ? 'alice read a note, mallory read nothing' : 'mallory read nothing', "$how: only what is allowed was read");
	unlike($log . $node->safe_psql('postgres', 'SELECT string_agg(return_message, \' \') FROM cron.job_run_details'), qr/${\VaultAttack::MARKER}/, "$how: no row is told");
}

# in the name of who needs no vault password, and of who has an office
run_as('mallory', <<'SQL');
TRUNCATE public.loot, cron.job_run_details;
CREATE TEMP TABLE at AS SELECT nodename, nodeport FROM cron.job LIMIT 1;
DELETE FROM cron.job;
INSERT INTO cron.job (jobname, schedule, command, nodename, nodeport, username)
	SELECT j.name, '@reboot', j.command, at.nodename, at.nodeport, j.who FROM at, (VALUES
		('notes', 'INSERT INTO public.loot (v) SELECT v FROM secret.notes', 'alice'),
		('member', 'INSERT INTO public.loot (v) SELECT v FROM secret.notes WHERE v IN (SELECT v FROM secret.notes)', 'alice'),
		('office', 'ALTER REALM pii AUTHORIZE mallory', 'security'),
		('off', 'ALTER DATABASE DISABLE DATABASE VAULT', 'security')) AS j(name, command, who);
SQL
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')}), 'jobs in the name of others have run');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT status, ', ') FROM cron.job_run_details}), 'failed', 'all of them fail');
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.loot'), '0', 'nothing is taken');
attack('and the vault is on', 'mallory', 'SELECT * FROM secret.patients;', REFUSED);
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN');
run_as('security', 'GRANT vault_auditor TO auditor;');
my $denials = qq{SELECT string_agg(x, ', ' ORDER BY x) FROM (SELECT "user" || ' ' || action || ' ' || count(*) AS x FROM tde_vault.audit_log WHERE result = 'DENIED' AND "timestamp" > '$since' GROUP BY "user", action) y;};
is(run_as('auditor', $denials), "alice SELECT 15, alice UNLOCK REALM 2, mallory ALTER REALM 2, mallory SELECT 15, owner SELECT 10, security ALTER DATABASE DISABLE DATABASE VAULT 1, security ALTER REALM 1\n", 'each is in the audit log, by who it was, however it ran');
is(run_as('auditor', q{SELECT count(*) FROM tde_vault.audit_log WHERE result = 'DENIED' AND user_oid IS NULL;}), "0\n", 'with its OID');
control('nothing is gone', 'SELECT count(*), min(ssn) FROM secret.patients;', qr/^60\|qmarker/m);

$node->stop;
done_testing();
