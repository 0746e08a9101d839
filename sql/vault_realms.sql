-- Realms: who may change them, what they protect, what an answer is.
SET client_min_messages = warning;
CREATE ROLE vr_security LOGIN;
CREATE ROLE vr_alice LOGIN;
CREATE ROLE vr_bob LOGIN;
CREATE ROLE vr_nurses;
GRANT vr_nurses TO vr_alice;
CREATE DATABASE vault_realms;
RESET client_min_messages;
\c vault_realms
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
RESET client_min_messages;
-- procedures exist, and refuse, before the vault is on
CALL tde_vault.create_realm('pii');
CALL tde_vault.unlock_realm('pii', 'x');
CALL tde_vault.enable_vault('postgres');
CALL tde_vault.enable_vault('no_such_database');
CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
CREATE TABLE plain (id int);
CREATE TABLE visits (id int GENERATED ALWAYS AS IDENTITY, day date, note text) PARTITION BY RANGE (day);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') USING tde_heap;
CREATE SCHEMA lab;
CREATE TABLE lab.results (id int) USING tde_heap;
CREATE FUNCTION called_by_index(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION called_by_domain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION called_by_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION called_by_plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION called_by_nothing() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE DOMAIN named AS text CHECK (called_by_domain(VALUE) <> 'x');
ALTER TABLE patients ADD COLUMN nick named;
CREATE INDEX ON patients (called_by_index(name));
CREATE INDEX ON plain (called_by_plain(id::text));
CREATE TRIGGER stamp BEFORE INSERT ON patients FOR EACH ROW EXECUTE FUNCTION called_by_trigger();
CREATE VIEW answers AS
    SELECT r::text AS relation, a.verdict, a.realm, a.rule, a.simulate
    FROM unnest(ARRAY['patients', 'plain', 'visits', 'visits_1', 'lab.results']::regclass[]) r
    CROSS JOIN LATERAL tde_vault.vault_access(r) a;
GRANT SELECT ON answers TO PUBLIC;

CALL tde_vault.enable_vault();
CALL tde_vault.enable_vault('vault_realms');
-- who enabled it is not its administrator
CALL tde_vault.create_realm('pii');
CALL tde_vault.disable_vault();
GRANT vault_admin TO vr_security;

\c - vr_security
CALL tde_vault.create_realm('pii', owner => 'vr_nobody');
CALL tde_vault.create_realm('');
CALL tde_vault.create_realm(repeat('x', 64));
CALL tde_vault.create_realm('pii', require_password => true);
CALL tde_vault.create_realm('pii');
CALL tde_vault.create_realm('pii', if_not_exists => true);
CALL tde_vault.create_realm('lab', description => 'results', owner => 'vr_bob');
CALL tde_vault.realm_add('pii', ARRAY['patients', 'public.visits']);
CALL tde_vault.realm_add('lab', schemas => ARRAY['lab']);
-- only sealed tables
CALL tde_vault.realm_add('pii', ARRAY['plain']);
CALL tde_vault.realm_add('pii', schemas => ARRAY['public']);
CALL tde_vault.realm_add('pii', ARRAY['pg_catalog.pg_class']);
CALL tde_vault.realm_add('pii', schemas => ARRAY['pg_catalog']);
CALL tde_vault.realm_add('pii', ARRAY['patients_pkey']);
CALL tde_vault.realm_add('nothing', ARRAY['patients']);
CALL tde_vault.realm_remove('lab', ARRAY['patients']);
CALL tde_vault.realm_authorize('pii', ARRAY['vr_nurses']);
CALL tde_vault.realm_authorize('pii', ARRAY['public']);
CALL tde_vault.grant_vault_password('pii', 'vr_alice', 'correct horse');
CALL tde_vault.grant_vault_password('pii', 'vr_alice', '');
CALL tde_vault.grant_vault_password('pii', 'vr_alice', 'x', '-1 hour');
-- an administrator is not authorized
SELECT * FROM answers;

\c - vr_alice
SELECT * FROM answers;
CALL tde_vault.unlock_realm('pii', 'wrong');
CALL tde_vault.unlock_realm('lab', 'wrong');
CALL tde_vault.unlock_realm('pii', 'correct horse');
SELECT * FROM answers;
-- indexes, TOAST and sequences are protected with their table
SELECT c.relkind, a.verdict, a.realm
FROM pg_class c CROSS JOIN LATERAL tde_vault.vault_access(c.oid::regclass) a
WHERE c.relname IN ('patients_pkey', 'visits_id_seq')
   OR c.oid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'patients') ORDER BY 1;
CALL tde_vault.realm_authorize('pii', ARRAY['vr_bob']);
CALL tde_vault.realm_mode('pii', 'disable');
CALL tde_vault.drop_realm('pii');
CALL tde_vault.grant_vault_password('pii', 'vr_alice');
CALL tde_vault.lock_realm();
SELECT verdict FROM tde_vault.vault_access('patients');

-- the owner of a realm changes it, and no other
\c - vr_bob
CALL tde_vault.realm_authorize('lab', ARRAY['vr_bob']);
CALL tde_vault.realm_authorize('pii', ARRAY['vr_bob']);
CALL tde_vault.realm_mode('lab', 'simulate');
CALL tde_vault.realm_mode('lab', 'sometimes');
CALL tde_vault.realm_description('lab', 'laboratory');
SELECT * FROM answers;
-- a commit that fails after the policy was written takes it back
CREATE TEMP TABLE parent (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
BEGIN;
CREATE TEMP TABLE child (id int REFERENCES parent) ON COMMIT PRESERVE ROWS;
CALL tde_vault.realm_mode('lab', 'disable');
SELECT mode FROM tde_vault.realms;
COMMIT;
SELECT mode, description FROM tde_vault.realms;
\c
SELECT mode, description FROM tde_vault.realms;

-- changes are the transaction's
\c - vr_security
BEGIN;
CALL tde_vault.realm_mode('pii', 'simulate');
SAVEPOINT a;
CALL tde_vault.drop_realm('pii');
SELECT verdict FROM tde_vault.vault_access('patients');
ROLLBACK TO a;
SELECT verdict, simulate FROM tde_vault.vault_access('patients');
ROLLBACK;
SELECT verdict, simulate FROM tde_vault.vault_access('patients');
BEGIN;
CALL tde_vault.drop_realm('lab');
PREPARE TRANSACTION 'vault';
-- revoking leaves nothing
CALL tde_vault.realm_revoke('pii', ARRAY['vr_nurses', 'vr_alice', 'vr_bob']);
\c - vr_alice
SELECT verdict FROM tde_vault.vault_access('patients');

-- functions that a protected table runs
\c - postgres
SELECT p.proname, tde_vault.function_frozen(p.oid::regprocedure) FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace ORDER BY 1;

-- off is off, and keeps everything for the next time
\c - vr_security
CALL tde_vault.disable_vault();
CALL tde_vault.disable_vault();
SELECT verdict FROM tde_vault.vault_access('patients');
CALL tde_vault.create_realm('x');
CALL tde_vault.enable_vault();
SELECT verdict FROM tde_vault.vault_access('patients');
CALL tde_vault.drop_realm('pii');
CALL tde_vault.drop_realm('pii', if_exists => true);
CALL tde_vault.drop_realm('pii');
SELECT verdict FROM tde_vault.vault_access('patients');
CALL tde_vault.disable_vault();
\c contrib_regression postgres
DROP DATABASE vault_realms;
DROP ROLE vr_security, vr_alice, vr_bob, vr_nurses;
