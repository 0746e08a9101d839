# Whose functions and views are given rows of realms: of who has a place in the
# vault of this database, now.  A place in that of another database is none here,
# nor is one that has run out, nor a policy elsewhere that nobody can read; and
# what a DO block was given it does not hand on after a COMMIT.  More of row 28
# of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE ROLE bob SUPERUSER LOGIN;
CREATE ROLE temp SUPERUSER LOGIN;
CREATE TABLE public.loot (v text);
SET ROLE bob;
CREATE FUNCTION public.of_bob(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
CREATE VIEW public.view_of_bob AS SELECT pg_notify('loot', 'x') IS NULL AS n, ssn FROM secret.patients;
RESET ROLE;
SET ROLE temp;
CREATE FUNCTION public.of_temp(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
RESET ROLE;
SET ROLE mallory;
CREATE FUNCTION public.of_mallory(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
RESET ROLE;
GRANT ALL ON public.loot, public.view_of_bob TO PUBLIC;
SQL
my $untrusted = qr/function "of_\w+" may not be called in a transaction that uses a realm/;

sub refused
{
	my ($name, $sql, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like(run_as('alice', UNLOCK . "$sql;"), $expected // $untrusted, "$name: refused");
	is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", "$name: no loot");
}

# --- a place elsewhere -------------------------------------------------------------------

refused('of somebody without a place', 'SELECT count(public.of_bob(ssn)) FROM secret.patients');
$node->create_database('elsewhere');
$node->safe_psql('elsewhere', 'CREATE TABLE public.theirs (id int) USING tde_heap');
unlike(run_as('security', 'ALTER DATABASE ENABLE DATABASE VAULT; CREATE REALM theirs OWNER bob; ALTER REALM theirs ADD TABLE theirs; ALTER REALM theirs AUTHORIZE bob;', database => 'elsewhere'), qr/ERROR/, 'bob gets a place in the vault of another database');
refused('a function of who has a place elsewhere', 'SELECT count(public.of_bob(ssn)) FROM secret.patients');
refused('a view of who has one', 'SELECT count(*) FROM (SELECT * FROM public.view_of_bob OFFSET 0) x', qr/may not carry rows/);
is(run_as('mallory', q{SELECT count(*) FROM tde_vault.trusted_code WHERE object ~ 'of_';}), "0\n", 'nor is it shown as trusted');
attack('though he is protected here, too', 'mallory', 'GRANT bob TO mallory;', REFUSED);

# --- a copy of the database, whose policy cannot be read by who has not its key ----------

$node->safe_psql('postgres', 'CREATE DATABASE stolen TEMPLATE elsewhere');
refused('beside a copy', 'SELECT count(public.of_mallory(ssn)) FROM secret.patients');

# --- a policy elsewhere that cannot be read ------------------------------------------------

my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'elsewhere'});
my $policy = $node->data_dir . "/tde_vault/vault/$oid";
my %whole = map { $_ => PostgreSQL::Test::Utils::slurp_file($_) } grep { -e } $policy, "$policy.copy";
is(scalar(keys %whole), 2, 'there is the policy elsewhere, twice');
foreach my $file (keys %whole)
{
	my $damaged = $whole{$file};
	substr($damaged, length($damaged) / 2, 16) = "\0" x 16;
	$node->write_file($file, $damaged);
}
refused('while a policy elsewhere cannot be read', 'SELECT count(public.of_mallory(ssn)) FROM secret.patients');
$node->write_file($_, $whole{$_}) foreach keys %whole;

# --- a place that runs out -------------------------------------------------------------------

run_as('security', q{GRANT VAULT PASSWORD ON REALM pii TO temp PASSWORD 'for a moment' VALID FOR INTERVAL '1 HOUR';});
like(run_as('alice', UNLOCK . 'BEGIN; SELECT count(public.of_temp(ssn)) FROM secret.patients; ROLLBACK;'), qr/^60$/m, 'temp has a place for a time: the function is trusted');
run_as('security', q{GRANT VAULT PASSWORD ON REALM pii TO temp PASSWORD 'for a moment' VALID FOR INTERVAL '2 seconds';});
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ], on_error_stop => 0);
$session->query(UNLOCK);
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
do
{
	$session->{stderr} = '';
	$session->query('BEGIN; SELECT count(public.of_temp(ssn)) FROM secret.patients; ROLLBACK;');
} while ($session->{stderr} !~ /ERROR/ && time < $deadline);
like($session->{stderr}, $untrusted, 'run out, it is not, in a session that knew it');
$session->quit;
refused('nor in a new one', 'SELECT count(public.of_temp(ssn)) FROM secret.patients');

# --- what a block was given it carries over the end of a transaction -----------------------

refused("$_->[0]", $_->[1])
  foreach (
	[ 'a variable, after COMMIT', 'DO $$DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; COMMIT; PERFORM public.of_mallory(v); END$$' ],
	[ 'a variable, after ROLLBACK', 'DO $$DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; ROLLBACK; PERFORM public.of_mallory(v); COMMIT; END$$' ],
	[ 'a loop over a cursor', 'DO $$DECLARE r record; n int := 0; BEGIN FOR r IN SELECT ssn FROM secret.patients LOOP COMMIT; PERFORM public.of_mallory(r.ssn); END LOOP; END$$' ],
	[ 'a procedure', 'CREATE PROCEDURE pg_temp.p() LANGUAGE plpgsql AS $$DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; COMMIT; PERFORM public.of_mallory(v); END$$; CALL pg_temp.p()' ],
	[ 'a procedure in a block', 'CREATE PROCEDURE pg_temp.q(INOUT v text) LANGUAGE plpgsql AS $$BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; COMMIT; END$$; DO $$DECLARE v text; BEGIN CALL pg_temp.q(v); PERFORM public.of_mallory(v); END$$' ],
	[ 'a block that has caught an error', 'DO $$DECLARE v text; BEGIN BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; COMMIT; PERFORM public.of_mallory(v); END$$' ]);
like(run_as('alice', UNLOCK . q{DO $$BEGIN PERFORM ssn FROM secret.patients; COMMIT; END$$; SELECT public.of_mallory('x'); DO $$BEGIN PERFORM public.of_mallory('y'); END$$;}),
	qr/^x\nDO$/m, 'control: after the block it works');
like(run_as('alice', UNLOCK . q{DO $$BEGIN PERFORM ssn FROM secret.patients; COMMIT; PERFORM 1 / 0; END$$; SELECT public.of_mallory('x');}),
	qr/division by zero.*^x$/ms, 'control: also after one that has failed');
$node->stop;
done_testing();
