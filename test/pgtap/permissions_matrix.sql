-- Who may call what: a row an object and a role.  Nothing is executable by
-- PUBLIC beyond the status of one's own tables.
BEGIN;
SELECT no_plan();
CREATE ROLE tv_super SUPERUSER;
CREATE ROLE tv_owner;
CREATE ROLE tv_reader;
CREATE ROLE tv_other;
CREATE SCHEMA app;
GRANT USAGE, CREATE ON SCHEMA app TO tv_owner;
GRANT USAGE ON SCHEMA app TO tv_reader, tv_other;
SET ROLE tv_owner;
CREATE TABLE app.mine (id int PRIMARY KEY, v text) USING tde_heap;
INSERT INTO app.mine VALUES (1, 'x');
CREATE TABLE app.plain (id int) USING heap;
GRANT SELECT ON app.mine TO tv_reader;
RESET ROLE;

-- Run a statement as a role that has logged in; the SQLSTATE, '00000' when it
-- works.
CREATE FUNCTION public.as_role(role_name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text := '00000';
BEGIN
	EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', role_name);
	BEGIN
		EXECUTE statement;
	EXCEPTION WHEN OTHERS THEN
		state := SQLSTATE;
	END;
	RESET SESSION AUTHORIZATION;
	RETURN state;
END$$;

CREATE TEMP TABLE matrix (statement text, tv_super text, tv_owner text, tv_reader text, tv_other text);
INSERT INTO matrix VALUES
	('SELECT tde_vault.is_encrypted(''app.mine'')',							'00000', '00000', '42501', '42501'),
	('SELECT tde_vault.is_encrypted(''app.mine_pkey'')',					'00000', '00000', '42501', '42501'),
	('SELECT tde_vault.is_encrypted(''app.plain'')',						'00000', '00000', '42501', '42501'),
	('SELECT * FROM tde_vault.encryption_status',							'00000', '00000', '00000', '00000'),
	('SELECT * FROM tde_vault.plaintext_files',								'00000', '00000', '00000', '00000'),
	('SELECT * FROM tde_vault.verify(''app.mine'')',						'00000', '42501', '42501', '42501'),
	('SELECT * FROM tde_vault.keys',										'00000', '42501', '42501', '42501'),
	('SELECT * FROM tde_vault.system_info()',								'00000', '42501', '42501', '42501'),
	-- The superuser's call gets as far as finding that there is a key.
	('CALL tde_vault.create_master_key(''another'')',						'42710', '42501', '42501', '42501'),
	('CALL tde_vault.create_master_key(''another'', ''file:/etc/passwd'')',	'42710', '42501', '42501', '42501'),
	-- The superuser's call gets as far as finding that it is in a transaction.
	('CALL tde_vault.rotate_master_key()',									'25001', '42501', '42501', '42501'),
	('CALL tde_vault.rotate_master_key(for_cluster => true)',				'25001', '42501', '42501', '42501'),
	('SELECT * FROM tde_vault.master_key_rotation()',						'00000', '42501', '42501', '42501'),
	('SET tde_vault.cipher = ''aes-256-xts''',								'00000', '00000', '00000', '00000'),
	('SET tde_vault.enforce_encryption = on',								'00000', '42501', '42501', '42501'),
	('SHOW tde_vault.key_provider',											'00000', '42501', '42501', '42501'),
	('CREATE VIEW tde_vault.intruder AS SELECT 1 AS x',					'00000', '42501', '42501', '42501');

SELECT is(public.as_role(r.role_name, m.statement), r.expected, r.role_name || ': ' || m.statement)
FROM matrix m, LATERAL (VALUES ('tv_super', m.tv_super), ('tv_owner', m.tv_owner), ('tv_reader', m.tv_reader), ('tv_other', m.tv_other)) r (role_name, expected);

-- Views show a role its own tables only.
CREATE FUNCTION public.count_as(role_name text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', role_name);
	EXECUTE query INTO n;
	RESET SESSION AUTHORIZATION;
	RETURN n;
END$$;
SELECT is(public.count_as('tv_owner', 'SELECT count(DISTINCT relation) FROM tde_vault.encryption_status WHERE relation::text IN (''app.mine'', ''app.mine_pkey'')'), 2::bigint,
	'encryption_status: the owner sees table and index');
SELECT is(public.count_as('tv_owner', 'SELECT count(*) FROM tde_vault.encryption_status s JOIN pg_class c ON c.oid = s.relation WHERE NOT pg_has_role(c.relowner, ''USAGE'')'), 0::bigint,
	'encryption_status: and no table of others');
SELECT is(public.count_as('tv_other', 'SELECT count(*) FROM tde_vault.encryption_status'), 0::bigint,
	'encryption_status: another role sees nothing');
SELECT is(public.count_as('tv_owner', 'SELECT count(DISTINCT relation) FROM tde_vault.plaintext_files WHERE relation::text = ''app.plain'''), 1::bigint,
	'plaintext_files: the owner sees its table');
SELECT is(public.count_as('tv_other', 'SELECT count(*) FROM tde_vault.plaintext_files'), 0::bigint,
	'plaintext_files: another role sees nothing');
SELECT is(public.count_as('tv_super', 'SELECT count(DISTINCT relation) FROM tde_vault.encryption_status WHERE relation::text LIKE ''app.mine%'''), 2::bigint,
	'encryption_status: a superuser sees it');

-- PUBLIC: only what is meant for everybody.
SELECT set_eq(
	$$SELECT p.proname::text FROM pg_proc p
	  WHERE p.pronamespace = 'tde_vault'::regnamespace AND has_function_privilege('tv_other', p.oid, 'EXECUTE')
	  AND p.prorettype <> 'table_am_handler'::regtype$$,
	ARRAY['is_encrypted', 'encryption_status_rows', 'plaintext_reason']
		-- statements of the vault, which check the authenticated user themselves
		|| ARRAY['enable_vault', 'disable_vault', 'create_realm', 'drop_realm', 'realm_add', 'realm_remove',
			'realm_owner', 'realm_description', 'realm_mode', 'realm_authorize', 'realm_revoke',
			'grant_vault_password', 'set_vault_password', 'revoke_vault_password', 'unlock_realm', 'lock_realm',
			'unlock_challenge', 'unlock_response', 'emergency_unlock', 'approve_emergency_unlock',
			'review_emergency_unlock', 'create_command_rule', 'alter_command_rule', 'drop_command_rule',
			'hour', 'day_of_week', 'vault_access', 'function_frozen',
			'create_recovery_shares', 'recover_vault_admin', 'vault_statements',
			'create_unlock_ticket', 'statistics_visible', 'extended_statistics_visible', 'code_trust',
			'vault_realms', 'vault_objects', 'vault_authorizations', 'vault_rules',
			'vault_password_rows', 'vault_unlocks', 'vault_emergencies']
		-- statements on tables, which check that the caller owns them
		|| ARRAY['encrypt_table', 'decrypt_table', 'rotate_table_key', 'encryption_progress_rows'],
	'functions executable by PUBLIC: status only');
SELECT set_eq(
	$$SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'tde_vault'::regnamespace
	  AND has_table_privilege('tv_other', c.oid, 'SELECT')$$,
	ARRAY['encryption_status', 'plaintext_files', 'encryption_progress']
		-- the vault's views show what the authenticated user may see
		|| ARRAY['realms', 'realm_objects', 'realm_authorizations', 'command_rules', 'vault_passwords',
			'unlocked_realms', 'emergency_unlocks', 'vault_script', 'trusted_code'], 'relations readable by PUBLIC: status only');
SELECT is_empty(
	$$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'tde_vault'::regnamespace AND c.relkind IN ('r', 'v', 'm')
	  AND has_table_privilege('tv_other', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
	'no relation writable by PUBLIC');
SELECT is(has_schema_privilege('tv_other', 'tde_vault', 'CREATE'), false, 'PUBLIC makes nothing in the schema');

-- Encrypted tables obey ordinary rights.
SELECT is(public.as_role('tv_reader', 'SELECT * FROM app.mine'), '00000', 'a grantee reads an encrypted table');
SELECT is(public.as_role('tv_reader', 'INSERT INTO app.mine VALUES (2)'), '42501', 'and does not write it');
SELECT is(public.as_role('tv_other', 'SELECT * FROM app.mine'), '42501', 'another role does not read it');

SELECT * FROM finish();
ROLLBACK;
