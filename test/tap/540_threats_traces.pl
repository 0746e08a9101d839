# Passwords, traces and the audit itself: rows 30 and 37 to 39 of the list of
# threats.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = realm_server();
my $data = $node->data_dir;
my $read = 'SELECT count(*) FROM secret.patients;';

# What the server's log got since the last call, without what it notes of statements.
my $seen = -s $node->logfile;
sub new_log
{
	my $log = slurp_file($node->logfile, $seen);
	$seen = -s $node->logfile;
	return join "\n", grep { !/LOG:  (?:statement|execute)/ } split /\n/, $log;
}

# --- 39: errors that print rows --------------------------------------------------------------

control('39: the client gets the message', 'SELECT ssn::int FROM secret.patients;', qr/invalid input syntax.*qmarker/);
foreach my $sql (
	'SELECT ssn::int FROM secret.patients',
	'SELECT ssn::date FROM secret.patients',
	'SELECT ssn::json FROM secret.patients',
	'SELECT ssn::uuid FROM secret.patients',
	'SELECT ssn::point FROM secret.patients',
	q{SELECT to_timestamp(ssn, 'YYYY') FROM secret.patients},
	'CREATE TEMP TABLE u (v text UNIQUE); INSERT INTO u SELECT name FROM secret.patients',
	'CREATE TEMP TABLE nn (a text, b text NOT NULL); INSERT INTO nn SELECT ssn, NULL FROM secret.patients',
	'CREATE TEMP TABLE ck (a text CHECK (length(a) < 3)); INSERT INTO ck SELECT ssn FROM secret.patients',
	'CREATE TEMP TABLE f (a text PRIMARY KEY); CREATE TEMP TABLE g (a text REFERENCES f); INSERT INTO g SELECT ssn FROM secret.patients',
	'CREATE TEMP TABLE x (a text, EXCLUDE (a WITH =)); INSERT INTO x SELECT name FROM secret.patients',
	'CREATE TEMP TABLE late (v text UNIQUE DEFERRABLE INITIALLY DEFERRED); BEGIN; INSERT INTO late SELECT name FROM secret.patients; COMMIT',
	'CREATE TEMP TABLE i AS SELECT name FROM secret.patients; CREATE UNIQUE INDEX ON i (name)',
	q{DO $$DECLARE r record; BEGIN FOR r IN SELECT ssn FROM secret.patients LOOP RAISE WARNING '%', r.ssn; END LOOP; END$$},
	q{DO $$DECLARE r record; BEGIN SELECT ssn INTO r FROM secret.patients LIMIT 1; RAISE EXCEPTION USING MESSAGE = r.ssn, DETAIL = r.ssn, HINT = r.ssn; END$$},
	q{DO $$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients LIMIT 1; EXECUTE 'SELECT ' || s; END$$},
	q{DO $$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients LIMIT 1; EXECUTE 'SELECT * FROM ' || s; END$$},
	q{DO $$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients LIMIT 1; PERFORM set_config('search_path', s, false), set_config('work_mem', s, false); END$$},
	q{DO $$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients LIMIT 1; ASSERT false, s; END$$},
	q{SELECT nextval(ssn) FROM secret.patients},
	q{SELECT ssn::regclass FROM secret.patients},
	q{SELECT pg_catalog.current_setting(ssn) FROM secret.patients},
	q{PREPARE p AS SELECT ssn::int FROM secret.patients; EXECUTE p})
{
	run_as('alice', UNLOCK . "\n$sql;");
	my @leaks = grep { /${\VaultAttack::MARKER}/ } split /\n/, new_log();
	is(scalar @leaks, 0, "39: $sql") or diag(join "\n", @leaks[0 .. ($#leaks > 3 ? 3 : $#leaks)]);
}

# --- 38: clocks and names ------------------------------------------------------------------------

$node->safe_psql('postgres', 'SET ROLE owner; CREATE TABLE public.timed (id int); INSERT INTO public.timed VALUES (1); GRANT SELECT ON public.timed TO alice; RESET ROLE');
run_as('security', q{CALL tde_vault.create_command_rule('hours', ARRAY['SELECT'], 'TABLE', 'public.timed',
	condition => 'tde_vault.hour(current_timestamp) BETWEEN 0 AND 23 AND tde_vault.hour(current_timestamp) = extract(hour FROM now() AT TIME ZONE ''UTC'')', message => 'not at this hour');});
attack("38: $_", 'alice', "$_; SELECT * FROM public.timed;", qr/not at this hour/)
  foreach (q{SELECT 1}, q{SET TimeZone = 'Asia/Tokyo'}, q{SET TimeZone = '-12'}, q{SET SESSION TIME ZONE INTERVAL '+07:30' HOUR TO MINUTE},
	q{SET search_path = public; CREATE FUNCTION public.hour(timestamptz) RETURNS int LANGUAGE sql AS 'SELECT 99'},
	q{BEGIN; SET LOCAL TimeZone = 'America/New_York'});
like(run_as('postgres', q{SELECT count(*) FROM pg_stat_activity;}), qr/^\d+$/m, '38: monitoring goes on');
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN');
run_as('security', q{CALL tde_vault.drop_command_rule('hours'); GRANT vault_auditor TO auditor;});
run_as('alice', q{SET application_name = 'payroll'; SET TimeZone = 'Asia/Tokyo'; SELECT * FROM secret.patients;});
like(run_as('auditor', q{SELECT "user", result, "timestamp" BETWEEN now() - interval '1 minute' AND now() FROM tde_vault.audit_log WHERE application_name = 'payroll' AND result = 'DENIED' LIMIT 1;}),
	qr/^alice\|DENIED\|t$/m, '38: the record has the real user and the real time');

# --- 37: the audit out of order --------------------------------------------------------------------

control('37: the realm is read', $read, qr/^60$/m);
rename "$data/tde_vault/audit", "$data/tde_vault/audit.away" or die;
like(run_as('alice', UNLOCK . $read), qr/TV020/, '37: without its audit log the realm cannot be unlocked');
attack('37: nor is a refusal a way in', 'mallory', 'SELECT ssn FROM secret.patients;', qr/TV020|not authorized/);
like(run_as('alice', 'SELECT count(*) FROM public.plain;'), qr/^\d+$/m, '37: what is not protected goes on');
rename "$data/tde_vault/audit.away", "$data/tde_vault/audit" or die;
control('37: it is back with the log', $read, qr/^60$/m);

# A session that is unlocked already, when the log goes away.
{
	my ($in, $out) = ('', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=alice' ], '<', \$in, '>', \$out, '2>&1');
	my $wait_for = sub {
		my ($pattern) = @_;
		my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		until ($out =~ $pattern || time > $deadline) { $session->pump_nb; select(undef, undef, undef, 0.02) }
		return $out =~ $pattern;
	};
	$in .= UNLOCK . "\n$read\n";
	ok($wait_for->(qr/^60$/m), '37: unlocked');
	rename "$data/tde_vault/audit", "$data/tde_vault/audit.away" or die;
	$out = '';
	$in .= "$read\n\\echo asked\n";
	$wait_for->(qr/^asked$/m);
	like($out, qr/could not write audit event/, '37: then nothing is read that is not audited');
	unlike($out, qr/^60$/m, '37: not one row');
	rename "$data/tde_vault/audit.away", "$data/tde_vault/audit" or die;
	$out = '';
	$in .= "$read\n\\echo again\n";
	$wait_for->(qr/^again$/m);
	like($out, qr/^60$/m, '37: and it goes on');
	run_as('mallory', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice';});
	$session->finish;
}
attack('37: a killed session leaves nothing open', 'alice', 'SELECT ssn FROM secret.patients;', qr/vault password required/);
like(run_as('auditor', 'SELECT ok FROM tde_vault.audit_verify();'), qr/^t$/m, '37: the chain is right after all that');

# --- what happens outside realms ----------------------------------------------------------------------

sub audited
{
	my ($who) = @_;
	return join ',', grep { $_ } split /\n/, run_as('auditor', qq{\\t on
SELECT event_type || ' ' || action || ' ' || coalesce(object, '') FROM tde_vault.audit_log
WHERE "user" = '$who' AND event_type IN ('DDL', 'READ', 'WRITE') ORDER BY file, "position";});
}
my $work = q{CREATE TABLE public.w (id int); INSERT INTO public.w VALUES (1); SELECT count(*) FROM public.w; UPDATE public.w SET id = 2;
	TRUNCATE public.w; CREATE TEMP TABLE mine (id int); DROP TABLE public.w;};
$node->safe_psql('postgres', 'CREATE ROLE worker LOGIN; CREATE ROLE worker2 LOGIN');
run_as('worker', $work);
is(audited('worker'), 'DDL CREATE TABLE public.w,DDL DROP TABLE public.w', 'definitions are audited');
$node->append_conf('postgresql.conf', "tde_vault.audit_ddl = off\ntde_vault.audit_reads = on\ntde_vault.audit_writes = on\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('tde_vault.audit_writes') = 'on'}) or die;
run_as('worker2', $work);
is(audited('worker2'), 'WRITE INSERT public.w,READ SELECT public.w,WRITE UPDATE public.w,WRITE TRUNCATE public.w',
	'or reads and writes, as the settings say');
$node->append_conf('postgresql.conf', "tde_vault.audit_ddl = on\ntde_vault.audit_reads = off\ntde_vault.audit_writes = off\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('tde_vault.audit_ddl') = 'on'}) or die;
rename "$data/tde_vault/audit", "$data/tde_vault/audit.away" or die;
like(run_as('worker', 'CREATE TABLE public.unseen (id int);'), qr/TV020/, 'a definition that cannot be audited');
rename "$data/tde_vault/audit.away", "$data/tde_vault/audit" or die;
is($node->safe_psql('postgres', q{SELECT to_regclass('public.unseen') IS NULL}), 't', 'is not made');

done_testing();
