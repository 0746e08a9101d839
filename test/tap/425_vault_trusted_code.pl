# Code from before the vault was on: whoever switches it on is told what begins
# to be trusted, and can look at it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE EXTENSION lo;
CREATE EXTENSION hstore;
CREATE ROLE planted LOGIN;
CREATE ROLE chief LOGIN;
CREATE ROLE visitor LOGIN;
CREATE TABLE public.loot (v text);
GRANT ALL ON public.loot TO PUBLIC;
GRANT CREATE ON SCHEMA public TO owner;
-- a superuser's, in the names of others
CREATE FUNCTION public.upper(varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.loot VALUES ($1); RETURN $1; END';
ALTER FUNCTION public.upper(varchar) OWNER TO planted;
CREATE FUNCTION public.of_security() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION public.of_security() OWNER TO chief;
CREATE VIEW public.view_of_planted AS SELECT 1 AS x;
ALTER VIEW public.view_of_planted OWNER TO planted;
CREATE FUNCTION public.slipped_in(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
ALTER FUNCTION public.slipped_in(text) OWNER TO owner;
ALTER EXTENSION hstore ADD FUNCTION public.slipped_in(text);
CREATE FUNCTION public.nobodys() RETURNS int LANGUAGE sql AS 'SELECT 1';
SET ROLE owner;
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION public.indexed(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE TABLE secret.scans (id int, v text, image lo) USING tde_heap;
INSERT INTO secret.scans VALUES (1, 'qmarker7kx2vw9');
CREATE INDEX ON secret.scans (public.indexed(v));
CREATE TRIGGER stamp BEFORE INSERT ON secret.scans FOR EACH ROW EXECUTE FUNCTION public.stamp();
CREATE MATERIALIZED VIEW public.copied AS SELECT id, length(v) FROM secret.scans;
RESET ROLE;
SQL
my $said = run_as('security', q{CALL tde_vault.realm_add('pii', ARRAY['secret.scans']);});
like($said, qr/WARNING:.*functions that run for secret\.scans are trusted with its rows: .*stamp\(\)/, 'a table joins: functions of triggers');
like($said, qr/indexed\(text\)/, 'and of indexes');
like($said, qr/WARNING:.*column "image" of secret\.scans refers to large objects/, 'and large objects');
like($said, qr/WARNING:.*materialized view public\.copied has rows of secret\.scans/, 'and copies');
like($said, qr/^CALL$/m, 'it joined');
unlike(run_as('security', q{CALL tde_vault.realm_remove('pii', ARRAY['secret.log']); CALL tde_vault.realm_add('pii', ARRAY['secret.log']);}), qr/WARNING/, 'one with nothing of it');
like(run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['planted']);}), qr/WARNING:.*2 functions and views of role "planted" are trusted/, 'a role is authorized');
like(run_as('security', q{CALL tde_vault.realm_owner('pii', 'chief');}), qr/WARNING:.*1 functions and views of role "chief" are trusted/, 'a realm gets an owner');
like(run_as('security', q{CALL tde_vault.create_realm('other', owner => 'chief');}), qr/WARNING:.*role "chief"/, 'a realm is made');
unlike(run_as('security', q{GRANT vault_auditor TO chief;}), qr/WARNING/, 'an auditor is named: that is no place in a realm');
unlike(run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['visitor']);}), qr/WARNING/, 'nobody is');
unlike(run_as('security', q{CALL tde_vault.create_realm('third', owner => 'security');}), qr/WARNING/, 'a role with nothing');
like(run_as('security', q{CALL tde_vault.grant_vault_password('other', 'planted', 'a password');}), qr/WARNING:.*2 functions and views of role "planted" are trusted with rows of realm "other"/, 'a password is given');
unlike(run_as('security', q{CALL tde_vault.grant_vault_password('other', 'planted', 'another one');}), qr/WARNING/, 'another one');
run_as('security', q{CALL tde_vault.revoke_vault_password('other', 'planted');});

my $trusted = sub {
	my ($object) = @_;
	my $line = run_as('security', "SELECT kind, owner, reason, length(fingerprint) FROM tde_vault.trusted_code WHERE object = '$object';");
	chomp $line;
	return $line;
};
is($trusted->('stamp()'), 'function|owner|runs for secret.scans|64', 'shown: a trigger\'s');
is($trusted->('indexed(text)'), 'function|owner|runs for ' . ($node->safe_psql('postgres', q{SELECT 'secret.' || quote_ident(relname) FROM pg_class WHERE relname LIKE 'scans%idx'})) . '|64', 'shown: an index\'s');
is($trusted->('upper(character varying)'), 'function|planted|its owner has a place in realm pii|64', 'shown: a role\'s');
is($trusted->('view_of_planted'), 'view|planted|its owner has a place in realm pii|64', 'shown: a role\'s view');
is($trusted->('slipped_in(text)'), 'function|owner|belongs to extension hstore|64', 'shown: what an extension was made to own');
is($trusted->('nobodys()'), '', 'not shown: what is not trusted');
is($trusted->('hstore(text,text)'), '', 'nor a module\'s code');
my $before = run_as('security', q{SELECT fingerprint FROM tde_vault.trusted_code WHERE object LIKE 'upper(%';});
like(run_as('planted', q{CREATE OR REPLACE FUNCTION public.upper(varchar) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN pg_catalog.upper($1); END';}), qr/CREATE FUNCTION/, 'its owner changes it');
isnt(run_as('security', q{SELECT fingerprint FROM tde_vault.trusted_code WHERE object LIKE 'upper(%';}), $before, 'which shows');
attack('a copy from before is not made again', 'owner', 'REFRESH MATERIALIZED VIEW public.copied;', REFUSED);
attack_each("an extension takes no function in: $_", "$_;")
  foreach ('ALTER EXTENSION hstore ADD FUNCTION public.nobodys()', 'ALTER EXTENSION hstore DROP FUNCTION public.slipped_in(text)',
	q{CREATE OR REPLACE FUNCTION public.slipped_in(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''%'', $1; RETURN $1; END'});
run_as('security', 'CALL tde_vault.disable_vault();');
is(run_as('security', 'SELECT count(*) FROM tde_vault.trusted_code;'), "0\n", 'with the vault off nothing is asked for');
$node->stop;
done_testing();
