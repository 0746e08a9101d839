# Trust is of a realm.  Who has a place in one realm (authorized, a password, its
# owner), or an office of the vault, makes code that meets the rows of another
# realm: functions, operators, casts, triggers, defaults, views, rules, policies,
# what tables of their own realm run.  None of it is given those rows, nor leaves
# anything behind in the name of who may read them.  More of rows 3, 11, 12, 25,
# 27 and 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my @others = qw(bob holder chief inspector operator guardian);
my $take = 'LANGUAGE plpgsql AS $f$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$f$';
my $node = realm_server(
	sql => <<"SQL" . join('', map { "SET ROLE $_; CREATE FUNCTION public.of_$_(text) RETURNS text $take; RESET ROLE;\n" } @others, 'alice', 'carol', 'helper', 'mallory'));
CREATE ROLE bob SUPERUSER LOGIN;
CREATE ROLE holder LOGIN;
CREATE ROLE chief LOGIN;
CREATE ROLE inspector LOGIN;
CREATE ROLE operator LOGIN;
CREATE ROLE guardian LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE helper LOGIN;
CREATE EXTENSION refint;
CREATE SCHEMA evil;
GRANT ALL ON SCHEMA evil TO PUBLIC;
CREATE SCHEMA theirs AUTHORIZATION bob;
GRANT USAGE ON SCHEMA theirs TO PUBLIC;
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
SET ROLE bob;
CREATE TABLE theirs.cases (id int, v text) USING tde_heap;
INSERT INTO theirs.cases VALUES (1, 'of the other realm');
CREATE FUNCTION theirs.indexed(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS \$\$BEGIN INSERT INTO public.loot VALUES (\$1); RETURN \$1; EXCEPTION WHEN OTHERS THEN IF SQLSTATE LIKE 'TV%' THEN RAISE; END IF; RETURN \$1; END\$\$;
CREATE INDEX ON theirs.cases (theirs.indexed(v));
GRANT ALL ON theirs.cases TO PUBLIC;
RESET ROLE;
TRUNCATE public.loot;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA secret TO carol;
SET ROLE owner;
CREATE TABLE secret.both (id int, v text) USING tde_heap;
INSERT INTO secret.both VALUES (1, 'qmarker7kx2vw9');
GRANT ALL ON secret.both TO alice, carol;
RESET ROLE;
SQL
unlike(run_as('security', <<'SQL'), qr/ERROR/, 'two realms');
GRANT vault_auditor TO inspector;
GRANT vault_operator TO operator;
GRANT vault_admin TO guardian;
CALL tde_vault.create_realm('other', owner => 'chief');
CALL tde_vault.realm_add('other', ARRAY['theirs.cases']);
CALL tde_vault.realm_authorize('other', ARRAY['bob', 'carol', 'helper']);
CALL tde_vault.grant_vault_password('other', 'holder', 'the other one');
CALL tde_vault.realm_authorize('pii', ARRAY['carol']);
CALL tde_vault.grant_vault_password('pii', 'carol', 'open sesame');
SQL
my $untrusted = qr/function "\w+" may not be called in a transaction that uses a realm/;
my $using = qr/function "\w+" may not use realm "pii"/;
my $carried = qr/may not carry rows/;

sub looted
{
	return run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;') =~ /^0$/m ? 0 : 1;
}

# Who has unlocked pii springs it: refused, and nothing is taken.
sub refused
{
	my ($name, $who, $sql, $expected) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $said = run_as($who, UNLOCK . "$sql;");

	like($said, $expected, "$name: refused");
	ok(!looted(), "$name: nothing is taken") or diag($said);
	return $said;
}

sub stored
{
	my ($name, $who, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unlike(run_as($who, "$sql;"), qr/ERROR/, "$name: stored");
	return;
}

# --- functions of somebody with a place elsewhere, or an office ------------------------------

refused("a function of $_", 'alice', "SELECT count(public.of_$_(ssn)) FROM secret.patients", $untrusted) foreach @others;
refused('one of bob, by who may use both realms', 'carol', 'SELECT count(public.of_bob(ssn)) FROM secret.patients', $untrusted);
refused('one of bob, after rows of both realms', 'carol', 'BEGIN; SELECT v FROM theirs.cases; SELECT count(*) FROM secret.small; SELECT public.of_bob($$x$$); COMMIT', $untrusted);
refused('one of alice, on rows of another realm, too', 'carol', 'BEGIN; SELECT count(*) FROM secret.small; SELECT v FROM theirs.cases; SELECT public.of_alice($$x$$); COMMIT', $untrusted);
refused('one of bob, in a block, after a COMMIT', 'carol', 'DO $$DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1; COMMIT; PERFORM 1 FROM theirs.cases; PERFORM public.of_bob(v); END$$', $untrusted);
like(run_as('carol', UNLOCK . 'SELECT count(public.of_bob(v)) FROM theirs.cases; SELECT count(public.of_helper(v)) FROM theirs.cases; SELECT count(public.of_carol(v)) FROM theirs.cases;'), qr/^1\n1\n1$/m, 'control: of the realm at hand');
like(run_as('carol', UNLOCK . 'BEGIN; SELECT count(*) FROM secret.small; SELECT count(public.of_carol(v)) FROM theirs.cases; SELECT count(public.of_carol(ssn)) FROM secret.patients; ROLLBACK;'), qr/^1\n1\n60$/m, 'control: the user\'s own, on both');
like(run_as('alice', UNLOCK . 'BEGIN; SELECT count(public.of_carol(ssn)) FROM secret.patients; ROLLBACK;'), qr/^60$/m, 'control: of who is authorized for both');
run_as('mallory', 'TRUNCATE public.loot;');

# --- a realm that is tried out, a rule that is: they do not undo the other realm --------------

run_as('security', q{CALL tde_vault.create_realm('trial', simulate => true); CALL tde_vault.realm_add('trial', ARRAY['secret.both']); CALL tde_vault.realm_add('pii', ARRAY['secret.both']);});
foreach my $whose (qw(mallory bob))
{
	run_as($whose, "CREATE FUNCTION public.peep_of_$whose(text) RETURNS text $take;");
	refused("rows of a realm, and of one that is tried: a function of $whose", 'alice', "SELECT public.peep_of_$whose(v) FROM secret.both", $untrusted);
	run_as('security', 'CREATE COMMAND RULE trial FOR SELECT ON TABLE secret.small DENY SIMULATE;');
	refused("a rule that is tried: a function of $whose", 'alice', "SELECT public.peep_of_$whose(v) FROM secret.small", $untrusted);
	run_as('security', 'DROP COMMAND RULE trial;');
}
run_as('security', q{CALL tde_vault.realm_remove('pii', ARRAY['secret.both']); CALL tde_vault.realm_authorize('trial', ARRAY['alice']);});
run_as('security', q{CALL tde_vault.create_realm('second'); CALL tde_vault.realm_authorize('second', ARRAY['bob', 'alice']); CALL tde_vault.realm_add('second', ARRAY['secret.both']); CALL tde_vault.realm_add('pii', ARRAY['secret.both']);});
refused('a table of two realms, with a place in one of them', 'alice', 'SELECT count(public.of_bob(v)) FROM secret.both', $untrusted);
like(run_as('alice', UNLOCK . 'BEGIN; SELECT count(public.of_alice(v)) FROM secret.both; ROLLBACK;'), qr/^1$/m, 'control: with one in both');
run_as('security', q{DROP REALM second; DROP REALM trial;});

# --- what meets the rows by itself: what bob has stored ------------------------------------------

my @meets = (
	[ 'search path', 'CREATE FUNCTION evil.upper(varchar) RETURNS text LANGUAGE sql AS $$SELECT public.of_bob($1)$$', 'SET search_path = evil, public; SELECT count(upper(ssn::varchar)) FROM secret.patients', $untrusted, 'DROP FUNCTION evil.upper(varchar)' ],
	[ 'operator', 'CREATE FUNCTION evil.same(text, int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN PERFORM public.of_bob($1); RETURN true; END$$; CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = int, FUNCTION = evil.same)', 'SET search_path = evil, public; SELECT count(*) FROM secret.patients WHERE ssn = 1', $untrusted, 'DROP OPERATOR evil.= (text, int); DROP FUNCTION evil.same' ],
	[ 'cast', 'CREATE TYPE evil.boxed AS (v text); CREATE FUNCTION evil.box(text) RETURNS evil.boxed LANGUAGE plpgsql AS $$BEGIN PERFORM public.of_bob($1); RETURN ROW($1)::evil.boxed; END$$; CREATE CAST (text AS evil.boxed) WITH FUNCTION evil.box(text)', 'SELECT count(ssn::evil.boxed) FROM secret.patients', $untrusted, 'DROP TYPE evil.boxed CASCADE' ],
	[ 'aggregate', 'CREATE AGGREGATE public.gather(text) (sfunc = textcat, stype = text)', 'SELECT public.gather(ssn) FROM secret.patients', $untrusted, 'DROP AGGREGATE public.gather(text)' ],
	[ 'trigger', 'CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (NEW.v); RETURN NEW; END$$; CREATE TRIGGER trap BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trap()', 'INSERT INTO public.inbox SELECT id, ssn FROM secret.patients', $untrusted, 'DROP FUNCTION public.trap CASCADE' ],
	[ 'trigger that reads', 'CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN NEW; END$$; CREATE TRIGGER trap BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trap()', 'INSERT INTO public.inbox VALUES (1)', $using, 'DROP FUNCTION public.trap CASCADE' ],
	[ 'default', q{CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN public.of_bob((SELECT string_agg(ssn, '') FROM secret.patients)); END$$; ALTER TABLE public.inbox ALTER v SET DEFAULT public.trap()}, 'INSERT INTO public.inbox (id) VALUES (1)', $using, 'DROP FUNCTION public.trap CASCADE' ],
	[ 'check of a domain', 'CREATE DOMAIN public.kept AS text CHECK (public.of_bob(VALUE) IS NOT NULL)', 'SELECT count(ssn::public.kept) FROM secret.patients', $untrusted, 'DROP DOMAIN public.kept' ],
	[ 'row type of a table with one', 'CREATE DOMAIN public.kept AS text CHECK (public.of_bob(VALUE) IS NOT NULL); CREATE TABLE public.boxes (v public.kept); GRANT ALL ON public.boxes TO PUBLIC', 'INSERT INTO public.boxes SELECT ssn FROM secret.patients', $untrusted, 'DROP TABLE public.boxes; DROP DOMAIN public.kept' ],
	[ 'view', 'CREATE VIEW public.seen AS SELECT pg_notify($$loot$$, ssn) IS NULL AS n FROM secret.patients', 'SELECT * FROM public.seen', $carried, 'DROP VIEW public.seen' ],
	[ 'view with the rights of its user', 'CREATE VIEW public.seen WITH (security_invoker) AS SELECT ssn FROM secret.patients WHERE ssn ~ $$x$$', 'SELECT * FROM public.seen', $carried, 'DROP VIEW public.seen' ],
	[ 'view of a view', 'CREATE VIEW public.inner_one WITH (security_invoker) AS SELECT ssn FROM secret.patients; CREATE VIEW public.seen WITH (security_invoker) AS SELECT ssn FROM public.inner_one', 'SELECT * FROM public.seen', $carried, 'DROP VIEW public.seen, public.inner_one' ],
	[ 'view of both realms', 'CREATE VIEW public.seen WITH (security_invoker) AS SELECT ssn, c.v FROM secret.patients p, theirs.cases c', 'SELECT * FROM public.seen', qr/may not carry rows|not authorized for realm "other"/, 'DROP VIEW public.seen' ],
	[ 'rule', 'CREATE RULE r AS ON INSERT TO public.inbox DO ALSO INSERT INTO public.loot SELECT ssn FROM secret.patients', 'INSERT INTO public.inbox VALUES (1)', $carried, 'DROP RULE r ON public.inbox' ],
	[ 'policy', 'ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING ((SELECT count(*) FROM secret.patients WHERE ssn ~ v) >= 0)', 'SELECT * FROM public.inbox', $carried, 'DROP POLICY p ON public.inbox; ALTER TABLE public.inbox DISABLE ROW LEVEL SECURITY' ]);
stored('a table', 'bob', 'CREATE TABLE public.inbox (id int, v text); GRANT ALL ON public.inbox TO PUBLIC; INSERT INTO public.inbox VALUES (1, $$x$$)');
foreach my $case (@meets)
{
	my ($name, $make, $spring, $expected, $clean) = @$case;
	stored($name, 'bob', $make . ($make =~ /VIEW public.seen/ ? '; GRANT SELECT ON public.seen TO PUBLIC' : ''));
	run_as('bob', 'GRANT SELECT ON public.inner_one TO PUBLIC;') if $make =~ /inner_one/;
	refused($name, $_, $spring, $expected) foreach qw(alice carol);
	run_as('bob', "$clean;");
}

# --- what tables of the other realm run, which is frozen --------------------------------------------

refused('a function that a table of the other realm runs', 'alice', 'SELECT count(theirs.indexed(ssn)) FROM secret.patients', $untrusted);
refused('on rows of both', 'carol', 'INSERT INTO theirs.cases SELECT id, ssn FROM secret.patients', $untrusted);
like(run_as('carol', 'BEGIN; INSERT INTO theirs.cases VALUES (2, $$x$$); ROLLBACK;'), qr/INSERT 0 1/, 'control: on rows of that realm');
foreach my $case (
	[ 'a trigger of a table of the other realm', 'CREATE FUNCTION theirs.trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN NEW; END$$; CREATE TRIGGER trap BEFORE INSERT ON theirs.cases FOR EACH ROW EXECUTE FUNCTION theirs.trap()', 'INSERT INTO theirs.cases VALUES (1)', $using, 'DROP TRIGGER trap ON theirs.cases; DROP FUNCTION theirs.trap' ],
	[ 'a rule of one', 'CREATE RULE r AS ON INSERT TO theirs.cases DO ALSO INSERT INTO public.loot SELECT ssn FROM secret.patients', 'INSERT INTO theirs.cases VALUES (1)', qr/may not carry rows|"indexed" may not be called/, 'DROP RULE r ON theirs.cases' ],
	[ 'a rule of one, of statistics', q{CREATE RULE r AS ON INSERT TO theirs.cases DO ALSO INSERT INTO public.loot SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'secret' AND most_common_vals::text ~ 'qmarker'}, 'INSERT INTO theirs.cases VALUES (1)', qr/INSERT/, 'DROP RULE r ON theirs.cases' ],
	[ 'a policy of one', 'ALTER TABLE theirs.cases ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON theirs.cases USING ((SELECT count(*) FROM secret.patients WHERE ssn ~ v) >= 0)', 'SELECT * FROM theirs.cases', $carried, 'DROP POLICY p ON theirs.cases; ALTER TABLE theirs.cases DISABLE ROW LEVEL SECURITY' ],
	[ 'a module\'s trigger of one', q{CREATE TRIGGER trap BEFORE DELETE ON theirs.cases FOR EACH ROW EXECUTE FUNCTION check_foreign_key(1, 'cascade', 'id', 'secret.small', 'id')}, 'DELETE FROM theirs.cases', $using, 'DROP TRIGGER trap ON theirs.cases' ])
{
	my ($name, $make, $spring, $expected, $clean) = @$case;
	stored($name, 'bob', $make);
	refused($name, 'carol', "BEGIN; $spring; COMMIT", $expected);
	run_as('bob', "$clean;");
}
is(run_as('alice', UNLOCK . 'SELECT count(*) FROM secret.small;'), "CALL\n1\n", 'nothing is gone');

# --- statistics, large objects -------------------------------------------------------------------------

my $values = q{SELECT most_common_vals::text AS v FROM pg_stats WHERE schemaname = 'secret' AND most_common_vals::text ~ 'qmarker'};
stored('statistics by a view', 'bob', "CREATE VIEW public.seen AS $values; GRANT SELECT ON public.seen TO PUBLIC");
unlike(run_as('alice', UNLOCK . 'SELECT * FROM public.seen;'), qr/qmarker/, 'values of statistics by a view of bob: none');
refused("values of statistics, a function of $_", 'alice', $values =~ s/most_common_vals::text AS v/public.of_$_(most_common_vals::text)/r, $untrusted) foreach qw(mallory bob);
run_as('alice', 'SELECT lo_from_bytea(7001, $$of alice$$);');
stored('a large object', 'bob', q{CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN public.of_bob(encode(lo_get(7001), 'escape')); END$$});
refused('a large object by a function', 'alice', 'SELECT public.trap()', $using);
run_as('bob', 'DROP FUNCTION public.trap; DROP VIEW public.seen; CREATE VIEW public.seen AS SELECT lo_get(7001)::text; GRANT SELECT ON public.seen TO PUBLIC;');
refused('a large object by a view', 'alice', 'SELECT * FROM public.seen', $using);
run_as('bob', 'DROP VIEW public.seen;');

# --- what the server does with the rows: bob's place is no reason, nor that it is bob who asks ----------

stored('statistics', 'owner', 'CREATE FUNCTION public.indexing(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN helped($1); END$$; CREATE TABLE public.later (v text) USING tde_heap');
run_as('owner', 'CREATE FUNCTION public.helped(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT $1$$; CREATE INDEX ON public.later (public.indexing(v));');
run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['owner']); CALL tde_vault.grant_vault_password('pii', 'owner', 'open sesame'); CALL tde_vault.realm_add('pii', ARRAY['public.later']);});
like(run_as('owner', UNLOCK . q{INSERT INTO public.later SELECT 'qmarker7kx2vw9' || g FROM generate_series(1, 40) g; ANALYZE public.later;}), qr/^ANALYZE$/m, 'control: ANALYZE, with a helper of who is authorized');
stored('a helper of bob', 'bob', 'CREATE FUNCTION evil.helped(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RAISE WARNING $m$%$m$, $1; RETURN $1; END$$');
my $said = run_as('bob', 'SET search_path = evil, public; ANALYZE public.later;');
like($said, qr/function "helped" may not be called/, 'ANALYZE by bob: refused');
unlike($said, qr/qmarker/, 'ANALYZE by bob: no row');
run_as('security', q{CALL tde_vault.realm_remove('pii', ARRAY['public.later']); CALL tde_vault.revoke_vault_password('pii', 'owner'); CALL tde_vault.realm_revoke('pii', ARRAY['owner']);});

# --- what bob's functions leave behind in the name of who may read more -----------------------------------

foreach my $case (
	[ 'a function', "CREATE OR REPLACE FUNCTION pg_temp.mine(text) RETURNS text $take", 'SELECT count(pg_temp.mine(ssn)) FROM secret.patients' ],
	[ 'a view', 'CREATE OR REPLACE TEMP VIEW plain AS SELECT v FROM public.loot', 'INSERT INTO plain (v) SELECT ssn FROM secret.patients' ],
	[ 'a statement that is prepared', 'PREPARE p AS INSERT INTO public.loot SELECT ssn FROM secret.patients', 'EXECUTE p' ],
	[ 'a search path', 'SET search_path = evil, public', 'INSERT INTO plain SELECT ssn FROM secret.patients' ])
{
	my ($name, $body, $then) = @$case;
	stored($name, 'bob', "CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS \$t\$BEGIN EXECUTE \$b\$$body\$b\$; RETURN 1; END\$t\$; CREATE TABLE IF NOT EXISTS evil.plain (v text); GRANT ALL ON evil.plain TO PUBLIC");
	foreach my $who (qw(alice carol))
	{
		refused("$name is left to $who", $who, "SELECT public.trap(); BEGIN; $then; ROLLBACK", qr/is refused within function "trap"/);
	}
	unlike(run_as('helper', 'SELECT public.trap();'), qr/ERROR/, "control: $name, to who has no other place than bob");
	run_as('bob', 'DROP FUNCTION public.trap; TRUNCATE evil.plain;');
}
stored('a function in the name of an administrator', 'carol', 'CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $t$BEGIN CREATE FUNCTION pg_temp.admits() RETURNS int LANGUAGE sql AS $$SELECT 1$$; RETURN 1; END$t$');
like(run_as($_, 'SELECT public.trap();'), qr/is refused within function "trap"/, "a function in the name of $_: refused, whoever has which realm")
  foreach qw(security guardian chief inspector);

# --- what is said to whoever looks -----------------------------------------------------------------------

is(run_as('inspector', q{SELECT reason FROM tde_vault.trusted_code WHERE object = 'of_bob(text)';}), "its owner has a place in realm other\n", 'trusted_code: which realm');
is(run_as('inspector', q{SELECT reason FROM tde_vault.trusted_code WHERE object = 'of_carol(text)';}), "its owner has a place in realms pii, other\n", 'which realms');
is(run_as('mallory', q{SELECT reason FROM tde_vault.trusted_code WHERE object = 'of_carol(text)';}), "its owner has a place in the vault\n", 'not to everybody');
is(run_as('inspector', "SELECT count(*) FROM tde_vault.trusted_code WHERE object = 'of_$_(text)';"), "0\n", "an office is no reason: $_") foreach qw(inspector operator guardian);
like(run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['helper']);}), qr/WARNING:.*1 functions and views of role "helper" are trusted with rows of realm "pii"/, 'with another realm: a warning');
like(run_as('alice', UNLOCK . 'BEGIN; SELECT count(public.of_helper(ssn)) FROM secret.patients; ROLLBACK;'), qr/^60$/m, 'and from then on it is');
run_as('security', q{CALL tde_vault.realm_revoke('pii', ARRAY['helper']);});
refused('and then no more', 'alice', 'SELECT count(public.of_helper(ssn)) FROM secret.patients', $untrusted);
$node->stop;
done_testing();
