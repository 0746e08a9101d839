# Tables called like one of a realm, in a schema that an authorized user's session
# searches before it: what the user writes would go there.  And what a function of
# somebody else leaves behind in an interpreter, or a table with policies that is
# given to an authorized role.  More of rows 6, 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE TABLE public.loot (v text);
CREATE TABLE public.source (id int, v text);
GRANT ALL ON public.loot, public.source TO PUBLIC;
CREATE SCHEMA alice;
GRANT USAGE ON SCHEMA alice TO PUBLIC;
CREATE SCHEMA staging;
CREATE TABLE alice.other (id int, v text);
CREATE TABLE public.small (id int, v text);
CREATE ROLE visitor LOGIN;
SET ROLE mallory;
CREATE FUNCTION public.shadow(statement text) RETURNS int LANGUAGE plpgsql AS $$BEGIN EXECUTE statement; RETURN 1; END$$;
CREATE FUNCTION public.taker() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT v FROM pg_temp.small; RETURN 1; END$$;
RESET ROLE;
DROP TABLE public.small;
SQL

# --- a function of somebody makes a temporary one --------------------------------------

my $write = q{SET search_path = secret, public; INSERT INTO small VALUES (70, 'qmarker7kx2vw9 new')};
foreach my $make ('CREATE TEMP TABLE small (id int, v text)', 'CREATE TEMP TABLE small AS SELECT * FROM public.source', 'SELECT * INTO TEMP small FROM public.source',
	'CREATE TEMP TABLE x (id int, v text); ALTER TABLE x RENAME TO small', 'CREATE TEMP SEQUENCE small')
{
	my $said = run_as('alice', UNLOCK . "SELECT public.shadow(\$\$$make\$\$); $write; SELECT public.taker();");

	like($said, qr/TV036: .*small, called like secret\.small, is refused within function "shadow"/, "$make: refused");
	is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", 'nothing is taken');
	run_as('alice', UNLOCK . 'DELETE FROM secret.small WHERE id = 70;');
}

# --- in the schema that is called like the user -----------------------------------------

attack($_, 'mallory', "$_;", qr/alice\.small, called like secret\.small, is refused while a vault is on/)
  foreach ('CREATE TABLE alice.small (id int, v text)', 'CREATE VIEW alice.small AS SELECT 1 AS id', 'CREATE TABLE alice.small AS SELECT 1 AS id',
	'ALTER TABLE alice.other RENAME TO small', 'CREATE TABLE public.small (id int, v text); ALTER TABLE public.small SET SCHEMA alice; DROP TABLE public.small');
like(run_as('mallory', 'CREATE SCHEMA theirs; CREATE TABLE theirs.small (id int); ALTER SCHEMA alice RENAME TO aside; ALTER SCHEMA theirs RENAME TO alice;'), qr/small, called like secret\.small, is refused/, 'a schema that is renamed');
run_as('mallory', 'ALTER SCHEMA aside RENAME TO alice; DROP SCHEMA theirs CASCADE;');

# --- what goes on -------------------------------------------------------------------------

like(run_as('mallory', 'CREATE TABLE staging.small (id int); CREATE TABLE alice.another (id int); CREATE TEMP TABLE small (id int);'), qr/^CREATE TABLE\nCREATE TABLE\nCREATE TABLE$/m, 'control: elsewhere, and other names');
like(run_as('alice', UNLOCK . 'CREATE TEMP TABLE small AS SELECT * FROM secret.small; SELECT count(*) FROM small;'), qr/^1$/m, 'control: alice herself');
like(run_as('alice', UNLOCK . q{SELECT public.shadow('CREATE TEMP TABLE scratch (id int)');}), qr/^1$/m, 'control: another name');
like(run_as('visitor', q{SELECT public.shadow('CREATE TEMP TABLE small (id int)');}), qr/^1$/m, 'control: who has no place is not concerned');

# --- a table with policies that is given away ----------------------------------------------

run_as('mallory', 'CREATE TABLE public.guarded (id int); CREATE POLICY p ON public.guarded USING ((SELECT count(*) FROM secret.patients) > 0);');
attack('a table with policies is given away', 'mallory', 'ALTER TABLE public.guarded OWNER TO alice;', qr/of role "alice" is refused/);
like(run_as('mallory', 'CREATE TABLE public.bare (id int); ALTER TABLE public.bare OWNER TO alice;'), qr/^ALTER TABLE$/m, 'control: one without');
$node->stop;
done_testing();
