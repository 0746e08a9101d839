# An unlock is the user's own: no function, trigger, rule or policy of somebody
# else unlocks a realm in an authorized user's session, whatever passwords it
# knows, nor takes an unlock ticket from it, nor uses up the user's attempts.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE ROLE nurses;
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE FUNCTION public.early() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
	$$BEGIN CALL tde_vault.unlock_realm('pii', 'open sesame'); RETURN 1; END$$;
CREATE FUNCTION public.of_nurses() RETURNS int LANGUAGE plpgsql AS
	$$BEGIN CALL tde_vault.unlock_realm('pii', 'open sesame'); RETURN 1; END$$;
ALTER FUNCTION public.of_nurses() OWNER TO nurses;
SQL
run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['nurses']);});

# --- what mallory plants: a body, wherever code is run for somebody -----------------------

# [ name, what makes it from BODY (PL/pgSQL statements), what springs it, what it is called ]
my @places = (
	[ 'function', q{CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN 1; END$f$}, 'SELECT public.trap()' ],
	[ 'definer function', q{CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $f$BEGIN BODY; RETURN 1; END$f$}, 'SELECT public.trap()' ],
	[ 'procedure', q{CREATE PROCEDURE public.trap() LANGUAGE plpgsql AS $f$BEGIN BODY; END$f$}, 'CALL public.trap()' ],
	[ 'function in DO of the user', q{CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN 1; END$f$}, 'DO $$BEGIN PERFORM public.trap(); END$$' ],
	[ 'trigger', q{CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN NEW; END$f$;
		CREATE TRIGGER trap BEFORE INSERT ON public.loot FOR EACH ROW EXECUTE FUNCTION public.trap()}, q{INSERT INTO public.loot VALUES ('x')} ],
	[ 'deferred trigger', q{CREATE FUNCTION public.trap() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN NEW; END$f$;
		CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON public.loot DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.trap()}, q{INSERT INTO public.loot VALUES ('x')} ],
	[ 'event trigger', q{CREATE FUNCTION public.trap() RETURNS event_trigger LANGUAGE plpgsql AS $f$BEGIN IF session_user = 'alice' THEN BODY; END IF; END$f$;
		CREATE EVENT TRIGGER trap ON ddl_command_start EXECUTE FUNCTION public.trap()}, 'CREATE TEMP TABLE t (id int)' ],
	[ 'default', q{CREATE FUNCTION public.trap() RETURNS text LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN 'x'; END$f$;
		CREATE TABLE public.inbox (id int, v text DEFAULT public.trap()); GRANT ALL ON public.inbox TO PUBLIC}, 'INSERT INTO public.inbox (id) VALUES (1)' ],
	[ 'policy', q{CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN true; END$f$;
		CREATE TABLE public.inbox AS SELECT 1 AS id; GRANT ALL ON public.inbox TO PUBLIC; ALTER TABLE public.inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.inbox USING (public.trap())}, 'SELECT * FROM public.inbox' ],
	[ 'rule', q{CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN 1; END$f$;
		CREATE TABLE public.inbox (id int); GRANT ALL ON public.inbox TO PUBLIC; CREATE RULE r AS ON INSERT TO public.inbox DO ALSO SELECT public.trap()}, 'INSERT INTO public.inbox VALUES (1)' ],
	[ 'view', q{CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN 1; END$f$;
		CREATE VIEW public.inbox AS SELECT public.trap(); GRANT ALL ON public.inbox TO PUBLIC}, 'SELECT * FROM public.inbox' ],
	[ 'operator', q{CREATE FUNCTION public.trap(int, int) RETURNS boolean LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN true; END$f$;
		CREATE OPERATOR public.<<>> (LEFTARG = int, RIGHTARG = int, FUNCTION = public.trap)}, 'SELECT 1 OPERATOR(public.<<>>) 2' ],
	[ 'check of a domain', q{CREATE FUNCTION public.trap(int) RETURNS boolean LANGUAGE plpgsql AS $f$BEGIN BODY; RETURN true; END$f$;
		CREATE DOMAIN public.trapped AS int CHECK (public.trap(VALUE))}, 'SELECT 1::public.trapped' ]);
my %body = (
	'CALL' => q{CALL tde_vault.unlock_realm('pii', 'open sesame')},
	'UNLOCK' => q{UNLOCK REALM pii PASSWORD 'open sesame'},
	'EXECUTE' => q{EXECUTE format('CALL tde_vault.unlock_realm(%L, %L)', 'pii', (SELECT 'open ' || 'sesame'))},
	'wrong passwords' => q{CALL tde_vault.unlock_realm('pii', 'guess')});
my $clean = q{DROP EVENT TRIGGER IF EXISTS trap; DROP TABLE IF EXISTS public.inbox; DROP DOMAIN IF EXISTS public.trapped; DROP TRIGGER IF EXISTS trap ON public.loot;
	SELECT format('DROP ROUTINE %s CASCADE', oid::regprocedure) FROM pg_proc WHERE proname = 'trap' \gexec};
my $within = qr/TV036: (?:UNLOCK REALM|create_unlock_ticket\(\)): not from within function "\w+".*HINT/s;
my @kinds = sort keys %body;
foreach my $i (0 .. $#places)
{
	my ($name, $make, $spring) = @{ $places[$i] };
	# each body in a function; elsewhere they take turns
	foreach my $kind ($i == 0 ? @kinds : $kinds[ $i % @kinds ])
	{
		unlike(run_as('mallory', ($make =~ s/BODY/$body{$kind}/r) . ';'), qr/ERROR/, "$name, $kind: planted");
		my $out = attack("$name, $kind", 'alice', "$spring;\n\\echo then\nSELECT count(*) FROM secret.small;", $within);
		like($out, qr/then\n.*TV030: vault password required/s, "$name, $kind: the realm stays locked");
		run_as('mallory', $clean =~ s/TABLE IF EXISTS public.inbox/($make =~ m{VIEW public.inbox}) ? 'VIEW IF EXISTS public.inbox' : 'TABLE IF EXISTS public.inbox'/er);
	}
}
attack('a function from before the vault was on', 'alice', 'SELECT public.early();', $within);
attack('of a role with a place, which is another still', 'alice', 'SELECT public.of_nurses();', $within);
attack('a trap that catches the refusal', 'alice', "DO \$\$BEGIN BEGIN PERFORM public.early(); EXCEPTION WHEN OTHERS THEN NULL; END; PERFORM 1 FROM secret.small; END\$\$;", qr/vault password required/);

# guesses are the trap's, not alice's
run_as('mallory', q{CREATE FUNCTION public.guess(p text) RETURNS text LANGUAGE plpgsql AS $$BEGIN CALL tde_vault.unlock_realm('pii', p); RETURN p; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END$$; GRANT EXECUTE ON FUNCTION public.guess TO PUBLIC;});
is(run_as('alice', q{SELECT DISTINCT public.guess('guess ' || g) FROM generate_series(1, 50) g;}), "TV036\n", 'guesses of a trap');
control('lock nobody out', 'SELECT count(*) FROM secret.small;', qr/^1$/m);

# a challenge for somebody else to answer
run_as('mallory', q{CREATE PROCEDURE public.asks() LANGUAGE plpgsql AS $$DECLARE a bytea; b text; c bytea; BEGIN CALL tde_vault.unlock_challenge('pii', a, b, c); INSERT INTO public.loot VALUES (a::text); END$$;});
attack('a challenge', 'alice', 'CALL public.asks();', $within);

# --- tickets, of a session that is unlocked --------------------------------------------------

run_as('mallory', <<'SQL');
CREATE FUNCTION public.takes() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS
	$$BEGIN INSERT INTO public.loot VALUES (tde_vault.create_unlock_ticket(64, '1 hour')); RETURN 1; END$$;
CREATE FUNCTION public.takes_trigger() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.v := tde_vault.create_unlock_ticket(); RETURN NEW; END$$;
CREATE TABLE public.inbox (v text);
GRANT ALL ON public.inbox TO PUBLIC;
CREATE TRIGGER takes BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.takes_trigger();
SQL
attack("a ticket: $_", 'alice', UNLOCK . "$_;", $within) foreach ('SELECT public.takes()', q{INSERT INTO public.inbox VALUES ('x')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.loot'), '0', 'there is no loot');

# --- what goes on --------------------------------------------------------------------------

run_as('alice', q{CREATE FUNCTION public.mine(p text) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN CALL tde_vault.unlock_realm('pii', p); RETURN (SELECT count(*) FROM secret.small); END$$;});
like(run_as('alice', q{SELECT public.mine('open sesame');}), qr/^1$/m, 'control: a function of the user');
like(run_as('alice', q{DO $$BEGIN UNLOCK REALM pii PASSWORD 'open sesame'; END$$; SELECT count(*) FROM secret.small;}), qr/^1$/m, 'control: DO');
like(run_as('alice', q{UNLOCK REALM pii PASSWORD 'open sesame'; SELECT count(*) FROM secret.small; SELECT length(tde_vault.create_unlock_ticket());}), qr/^1\n64$/m, 'control: statements');
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN');
run_as('security', 'GRANT vault_auditor TO auditor;');
like(run_as('auditor', q{SELECT count(*) > 20 FROM tde_vault.audit_log WHERE result = 'DENIED' AND "user" = 'alice' AND reason = 'by a function of somebody else';}), qr/^t$/m, 'each is in the audit log');

$node->stop;
done_testing();
