# Borrowing somebody who is authorized: rows 26 to 29 of the list of threats.
# Each by a superuser, by the table's owner and by an authorized user whose
# realm is locked; trojans are sprung by an authorized user whose is not.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE DATABASE elsewhere;
CREATE ROLE nurses;
CREATE ROLE carol LOGIN IN ROLE nurses;
CREATE ROLE bystander LOGIN;
CREATE ROLE friend LOGIN IN ROLE alice;
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE TABLE public.target (id int, v text);
GRANT ALL ON public.target TO PUBLIC;
SET ROLE alice;
CREATE FUNCTION public.of_alice(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
RESET ROLE;
SET ROLE security;
CREATE FUNCTION public.of_security() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
RESET ROLE;
SQL
run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['nurses']); CALL tde_vault.grant_vault_password('pii', 'nurses', 'nurse');});
my $read = 'SELECT ssn FROM secret.patients;';

# --- 26: another identity ---------------------------------------------------------------

# PostgreSQL lets a superuser be anybody, and alice herself and owner
my @become = map { [ "SET ROLE $_", "SET LOCAL ROLE $_", "SELECT set_config('role', '$_', false)" ] } qw(alice owner);
push @{ $become[0] }, 'SET SESSION AUTHORIZATION alice', q{SELECT set_config('session_authorization', 'alice', false)};
attack_each("26: $_", "BEGIN; $_; $read ROLLBACK;", undef, who => [qw(mallory alice)]) foreach map { @$_ } @become;
attack_each("26: $_", "BEGIN; $_; $read ROLLBACK;", undef, who => ['owner']) foreach @{ $become[1] };
attack("26: $_", 'owner', "$_; $read", REFUSED, postgres => 1) foreach @{ $become[0] };
# a member of an authorized role from before the vault was on
attack('26: a member becomes whom it is a member of', 'friend', 'SET ROLE alice; ' . $read, REFUSED);
attack_each("26: $_", "$_;", undef, superuser => 1)
  foreach (
	"SET ROLE nurses; $read",
	q{SET ROLE security; CALL tde_vault.realm_authorize('pii', ARRAY['mallory', 'owner'])},
	q{SET SESSION AUTHORIZATION security; CALL tde_vault.realm_mode('pii', 'disable')},
	'SET ROLE vault_admin; CALL tde_vault.disable_vault()',
	q{SET ROLE security; GRANT VAULT PASSWORD ON REALM pii TO mallory PASSWORD 'x'});
attack_each('26: SET ROLE vault_auditor', 'SET ROLE vault_auditor; SELECT * FROM tde_vault.audit_log;', REFUSED, superuser => 1, who => [qw(owner alice)]);
like(run_as('mallory', 'SET ROLE vault_auditor; SELECT * FROM tde_vault.audit_log;'), qr/\ASET\nERROR:  42501: permission denied for the audit log\n/, '26: who is auditor by SET ROLE reads no log');
my @borrow = (
	[ 'alice', 'security' => q{CREATE PROCEDURE public.borrow2() LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN CALL tde_vault.realm_mode(''pii'', ''disable''); END'; ALTER PROCEDURE public.borrow2() OWNER TO security; CALL public.borrow2();}, 'DROP PROCEDURE public.borrow2' ],
	[ 'owner', 'alice' => q{CREATE FUNCTION public.borrow() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM secret.patients'; ALTER FUNCTION public.borrow() OWNER TO alice; SELECT public.borrow();}, 'DROP FUNCTION public.borrow' ]);
foreach my $row (@borrow)
{
	my ($other, $name, $sql, $clean) = @$row;
	attack("26: a function given to $name", 'mallory', $sql, REFUSED, after => $clean);
	attack("26: a function given to $name", $other, $sql, REFUSED, postgres => 1, after => $clean);
}

my @roles = (
	'GRANT alice TO mallory, owner',
	'GRANT alice TO CURRENT_USER',
	'GRANT nurses TO mallory, owner',
	'GRANT vault_admin TO mallory, owner',
	'GRANT vault_auditor TO mallory, owner',
	'GRANT security TO mallory, owner WITH ADMIN OPTION',
	'ALTER GROUP nurses ADD USER mallory, owner',
	'CREATE ROLE eve IN ROLE alice',
	'CREATE ROLE eve IN ROLE nurses, vault_admin',
	'CREATE GROUP eve IN GROUP alice',
	q{ALTER ROLE alice PASSWORD 'known'},
	q{ALTER USER alice ENCRYPTED PASSWORD 'known' VALID UNTIL 'infinity'},
	q{ALTER ROLE nurses LOGIN PASSWORD 'known'},
	q{ALTER ROLE vault_admin LOGIN PASSWORD 'known'},
	q{ALTER ROLE security PASSWORD 'known'},
	'ALTER ROLE alice RENAME TO anne',
	'ALTER ROLE nurses RENAME TO night_nurses',
	'ALTER ROLE vault_admin RENAME TO vault_boss',
	'DROP ROLE vault_admin',
	'DROP ROLE nurses',
	'DROP USER security',
	'ALTER ROLE alice SET search_path = evil, public',
	'ALTER ROLE alice IN DATABASE postgres SET search_path = evil',
	q{ALTER ROLE security SET session_preload_libraries = 'evil'},
	'ALTER ROLE alice SUPERUSER',
	'ALTER ROLE alice NOLOGIN',
	'REASSIGN OWNED BY alice TO mallory',
	'REASSIGN OWNED BY security TO owner',
	'DROP OWNED BY alice',
	q{DO $$BEGIN EXECUTE 'GRANT ' || 'alice TO ' || session_user; END$$},
	q{CREATE FUNCTION public.g() RETURNS void LANGUAGE plpgsql AS $$BEGIN GRANT alice TO mallory; END$$; SELECT public.g()});
foreach my $statement (@roles)
{
	# alice may not do these for want of privileges, or because they are of herself
	attack_each("26: $statement", "$statement;", undef, who => [qw(mallory owner)]);
	attack("26: elsewhere: $statement", 'mallory', "$statement;", REFUSED, database => 'elsewhere')
	  unless $statement =~ /IN DATABASE|OWNED BY/;
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname IN ('mallory', 'owner', 'eve') AND m.roleid::regrole::text !~ '^pg_'}),
	0, '26: nobody became a member of anything');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_roles WHERE rolname IN ('alice', 'nurses', 'security', 'vault_admin') AND NOT rolsuper}),
	4, '26: and everybody is there still');

# A vault of one's own, elsewhere, makes nobody administrator of all.
attack('26: a vault of my own', 'mallory', <<'SQL', qr/only a vault administrator|refused/, database => 'elsewhere');
CREATE EXTENSION tde_vault;
CALL tde_vault.create_master_key('mine');
CALL tde_vault.enable_vault();
GRANT vault_admin TO mallory;
SQL
attack('26: nor with its administrator', 'mallory', "CALL tde_vault.realm_mode('pii', 'disable'); $read", REFUSED);

# --- 27: planted on the table -------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (NEW::text); RETURN NEW; END$$;
	ALTER FUNCTION public.spy() OWNER TO owner; GRANT ALL ON SCHEMA secret TO PUBLIC});
attack_each("27: $_", "$_;")
  foreach (
	'CREATE TRIGGER spy BEFORE INSERT ON secret.patients FOR EACH ROW EXECUTE FUNCTION public.spy()',
	'CREATE TRIGGER spy AFTER UPDATE ON secret.patients REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION public.spy()',
	'CREATE CONSTRAINT TRIGGER spy AFTER INSERT ON secret.small FOR EACH ROW EXECUTE FUNCTION public.spy()',
	'CREATE TRIGGER spy BEFORE INSERT ON secret.log FOR EACH ROW EXECUTE FUNCTION public.spy()',
	'CREATE TRIGGER spy BEFORE INSERT ON secret.log_1 FOR EACH ROW EXECUTE FUNCTION public.spy()',
	'CREATE RULE spy AS ON INSERT TO secret.patients DO ALSO INSERT INTO public.loot VALUES (NEW.ssn)',
	'CREATE RULE "_RETURN" AS ON SELECT TO secret.small DO INSTEAD SELECT 1 AS id, \'x\'::text AS v',
	'CREATE RULE spy AS ON UPDATE TO secret.small DO INSTEAD NOTHING',
	'CREATE POLICY spy ON secret.patients USING (true)',
	'ALTER TABLE secret.patients ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE secret.patients FORCE ROW LEVEL SECURITY',
	'ALTER TABLE secret.patients DISABLE TRIGGER ALL',
	'ALTER TABLE secret.patients ALTER name SET DEFAULT current_user',
	'ALTER TABLE secret.patients ADD CHECK (length(name) > 0)',
	'ALTER TABLE secret.patients ADD COLUMN x text GENERATED ALWAYS AS (ssn) STORED',
	'CREATE INDEX ON secret.patients (lower(ssn))');

# --- 28: planted elsewhere, sprung by alice ----------------------------------------------------

# Who plants, what, what alice does then, unlocked, and what cleans up.  Nothing
# of the realm may be in the loot, in a message, or in the log afterwards.
my @trojans = (
	[ 'trigger that reads the realm', 'mallory',
		q{CREATE FUNCTION public.t1() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN NEW; END$$;
		CREATE TRIGGER t1 BEFORE INSERT ON public.target FOR EACH ROW EXECUTE FUNCTION public.t1();},
		q{INSERT INTO public.target VALUES (1, 'x');}, 'DROP FUNCTION IF EXISTS public.t1 CASCADE' ],
	[ 'default that reads the realm', 'mallory',
		q{CREATE FUNCTION public.d1() RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN 'x'; END$$;
		ALTER TABLE public.target ALTER v SET DEFAULT public.d1();},
		q{INSERT INTO public.target (id) VALUES (1);}, 'DROP FUNCTION IF EXISTS public.d1 CASCADE' ],
	[ 'view over a function that reads the realm', 'mallory',
		q{CREATE FUNCTION public.v1() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN 1; END$$;
		CREATE VIEW public.harmless AS SELECT public.v1(); GRANT SELECT ON public.harmless TO PUBLIC;},
		q{SELECT * FROM public.harmless;}, 'DROP VIEW IF EXISTS public.harmless; DROP FUNCTION IF EXISTS public.v1' ],
	[ 'SQL function that reads the realm', 'mallory',
		q{CREATE FUNCTION public.s1() RETURNS void LANGUAGE sql AS $$INSERT INTO public.loot SELECT ssn FROM secret.patients$$;},
		q{SELECT public.s1();}, 'DROP FUNCTION IF EXISTS public.s1' ],
	[ 'SECURITY DEFINER function that reads the realm', 'mallory',
		q{CREATE FUNCTION public.s2() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$INSERT INTO public.loot SELECT ssn FROM secret.patients$$;},
		q{SELECT public.s2();}, 'DROP FUNCTION IF EXISTS public.s2' ],
	[ 'event trigger', 'mallory',
		q{CREATE FUNCTION public.e1() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN IF session_user = 'alice' THEN INSERT INTO public.loot SELECT ssn FROM secret.patients; END IF; END$$;
		CREATE EVENT TRIGGER e1 ON ddl_command_start EXECUTE FUNCTION public.e1();},
		q{CREATE TEMP TABLE innocent (id int);}, 'DROP EVENT TRIGGER IF EXISTS e1; DROP FUNCTION IF EXISTS public.e1' ],
	[ 'function that takes the place of one of the server', 'mallory',
		q{CREATE FUNCTION public.upper(varchar) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;},
		q{SELECT count(upper(ssn::varchar)) FROM secret.patients;}, 'DROP FUNCTION IF EXISTS public.upper(varchar)' ],
	[ 'operator that takes the place of one of the server', 'owner',
		q{CREATE FUNCTION public.eq(text, varchar) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN true; END$$;
		CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = varchar, FUNCTION = public.eq);},
		q{SELECT count(*) FROM secret.patients WHERE ssn = 'x'::varchar;}, 'DROP FUNCTION IF EXISTS public.eq CASCADE' ],
	[ 'SQL function that would be inlined', 'owner',
		q{CREATE FUNCTION public.trim2(text) RETURNS text LANGUAGE sql AS $$SELECT pg_notify('loot', $1)::text || $1$$;},
		q{SELECT count(public.trim2(ssn)) FROM secret.patients;}, 'DROP FUNCTION IF EXISTS public.trim2' ],
	[ 'cast', 'owner',
		q{CREATE TYPE public.box2 AS (v text);
		CREATE FUNCTION public.to_box2(text) RETURNS public.box2 LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN ROW($1); END$$;
		CREATE CAST (text AS public.box2) WITH FUNCTION public.to_box2(text);},
		q{SELECT count(ssn::public.box2) FROM secret.patients;}, 'DROP TYPE IF EXISTS public.box2 CASCADE; DROP FUNCTION IF EXISTS public.to_box2' ],
	[ 'domain', 'owner',
		q{CREATE FUNCTION public.fine(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN true; END$$;
		CREATE DOMAIN public.label AS text CHECK (public.fine(VALUE));},
		q{SELECT count(ssn::public.label) FROM secret.patients;}, 'DROP DOMAIN IF EXISTS public.label; DROP FUNCTION IF EXISTS public.fine' ],
	[ 'aggregate', 'owner',
		q{CREATE FUNCTION public.agg_step(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($2); RETURN ''; END$$;
		CREATE AGGREGATE public.string_join(text) (SFUNC = public.agg_step, STYPE = text, INITCOND = '');},
		q{SELECT public.string_join(ssn) FROM secret.patients;}, 'DROP FUNCTION IF EXISTS public.agg_step CASCADE' ],
	[ 'view that passes rows to a function', 'owner',
		q{CREATE FUNCTION public.peep(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
		CREATE VIEW public.shown AS SELECT public.peep(ssn) AS ssn FROM secret.patients; GRANT SELECT ON public.shown TO PUBLIC;},
		q{SELECT count(ssn) FROM public.shown;}, 'DROP VIEW IF EXISTS public.shown; DROP FUNCTION IF EXISTS public.peep' ],
	[ 'trigger on where rows are put', 'owner',
		q{CREATE FUNCTION public.t2() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES (NEW.v); RETURN NEW; END$$;
		CREATE TABLE public.inbox (v text); GRANT ALL ON public.inbox TO PUBLIC;
		CREATE TRIGGER t2 BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.t2();},
		q{INSERT INTO public.inbox SELECT ssn FROM secret.patients;}, 'DROP TABLE IF EXISTS public.inbox; DROP FUNCTION IF EXISTS public.t2' ],
	[ 'function given to alice', 'mallory',
		q{CREATE FUNCTION public.gift(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;
		ALTER FUNCTION public.gift(text) OWNER TO alice;},
		q{SELECT count(public.gift(ssn)) FROM secret.patients;}, 'DROP FUNCTION IF EXISTS public.gift' ],
	[ 'function made as alice', 'mallory',
		q{SET ROLE alice; CREATE FUNCTION public.forged(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;},
		q{SELECT count(public.forged(ssn)) FROM secret.patients;}, 'DROP FUNCTION IF EXISTS public.forged' ],
	[ 'function of alice replaced', 'mallory',
		q{CREATE OR REPLACE FUNCTION public.of_alice(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END$$;},
		q{SELECT count(public.of_alice(ssn)) FROM secret.patients;}, '' ],
	[ 'function of alice given settings', 'mallory',
		q{CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; CREATE FUNCTION evil.length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN 1; END$$;
		ALTER FUNCTION public.of_alice(text) SET search_path = evil, pg_catalog;},
		q{SELECT count(length(public.of_alice(ssn))) FROM secret.patients;}, 'DROP SCHEMA IF EXISTS evil CASCADE' ],
	[ 'search_path of the database', 'mallory',
		q{CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC; CREATE FUNCTION evil.length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot VALUES ($1); RETURN 1; END$$;
		ALTER DATABASE postgres SET search_path = evil, pg_catalog, public;},
		q{SELECT count(length(ssn)) FROM secret.patients;}, 'ALTER DATABASE postgres RESET search_path; DROP SCHEMA IF EXISTS evil CASCADE' ],
	[ 'function for a policy of row security', 'mallory',
		q{CREATE FUNCTION public.p1() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN true; END$$;
		CREATE TABLE public.guarded (v text); GRANT ALL ON public.guarded TO PUBLIC; ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
		CREATE POLICY p ON public.guarded USING (public.p1()); INSERT INTO public.guarded VALUES ('x');},
		q{SELECT * FROM public.guarded;}, 'DROP TABLE IF EXISTS public.guarded; DROP FUNCTION IF EXISTS public.p1' ],
	[ 'function behind an index', 'owner',
		q{CREATE FUNCTION public.i1(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN INSERT INTO public.loot SELECT ssn FROM secret.patients; RETURN $1; END$$;
		CREATE TABLE public.indexed (v text); GRANT ALL ON public.indexed TO PUBLIC; CREATE INDEX ON public.indexed (public.i1(v));},
		q{INSERT INTO public.indexed VALUES ('x');}, 'DROP TABLE IF EXISTS public.indexed; DROP FUNCTION IF EXISTS public.i1' ]);
foreach my $trojan (@trojans)
{
	my ($name, $who, $plant, $spring, $clean) = @$trojan;

	my $planted = run_as($who, $plant);
	unlike($planted, qr/ERROR:\s++(?!TV0)/, "28: $name: planted, or refused by the vault") or diag($planted);
	attack("28: $name", 'alice', UNLOCK . "\n$spring", $planted =~ /ERROR/ ? qr/^/ : qr/ERROR:\s+TV03/);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM public.loot'), 0, "28: $name: no loot")
	  or run_as('postgres', 'TRUNCATE public.loot');
	run_as('postgres', "$clean;") if $clean ne '';
}
control('28: functions of the server, and of alice', 'SELECT count(upper(ssn)), count(public.of_alice(ssn)) FROM secret.patients;', qr/^60\|60$/m);

# --- 29: a session that is handed on ----------------------------------------------------------------

attack("29: $_", 'alice', UNLOCK . "\n$_;\n$read", qr/vault password required/)
  foreach ('DISCARD ALL', 'RESET ALL', 'SET ROLE alice', 'RESET ROLE', 'SET SESSION AUTHORIZATION alice',
	'RESET SESSION AUTHORIZATION', q{SELECT set_config('role', 'alice', false)}, 'CALL tde_vault.lock_realm()');
attack('29: a cursor does not outlive the lock', 'alice',
	UNLOCK . "\nBEGIN; DECLARE c CURSOR FOR SELECT 1 FROM secret.patients; RESET ROLE; FETCH ALL c; ROLLBACK;", qr/vault password required/);
attack('29: nor a prepared statement', 'alice',
	UNLOCK . "\nPREPARE p AS SELECT ssn FROM secret.patients; RESET ROLE; EXECUTE p;", qr/vault password required/);

done_testing();
