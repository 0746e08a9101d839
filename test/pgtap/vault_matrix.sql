-- Separation of duties: a row an action, a column a person, every cell.  Each
-- acts in a session of their own, because the vault asks who was
-- authenticated; what they did is rolled back.
CREATE DATABASE vault_matrix;
\c vault_matrix
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION tde_vault;
CREATE EXTENSION dblink;
CALL tde_vault.create_master_key('vault_matrix_key');
SELECT no_plan();

CREATE ROLE vm_dba SUPERUSER LOGIN;
CREATE ROLE vm_admin LOGIN;
CREATE ROLE vm_auditor LOGIN;
CREATE ROLE vm_operator LOGIN;
CREATE ROLE vm_rowner LOGIN;		-- owns realm r
CREATE ROLE vm_towner LOGIN;		-- owns its table
CREATE ROLE vm_user LOGIN;			-- authorized, with a password
CREATE ROLE vm_nobody LOGIN;
CREATE ROLE vm_other;
GRANT ALL ON SCHEMA public TO PUBLIC;
SET ROLE vm_towner;
CREATE TABLE t (id int) USING tde_heap;
INSERT INTO t VALUES (1);
CREATE TABLE t2 (id int) USING tde_heap;
CREATE TABLE plain (id int);
RESET ROLE;
GRANT ALL ON t, plain TO PUBLIC;
CALL tde_vault.enable_vault();
GRANT vault_admin TO vm_admin;

CREATE FUNCTION as_user(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text := '00000';
BEGIN
	PERFORM dblink_connect('m', format('dbname=%s user=%s host=%s port=%s', current_database(), who,
		current_setting('unix_socket_directories'), current_setting('port')));
	BEGIN
		IF statement ~ '^(ALTER SYSTEM|CALL tde_vault.rotate)' THEN		-- not in a transaction
			PERFORM dblink_exec('m', statement);
		ELSE
			PERFORM dblink_exec('m', 'BEGIN');
			PERFORM dblink_exec('m', format('DO %L', format('BEGIN EXECUTE %L; END', statement)));
		END IF;
	EXCEPTION WHEN OTHERS THEN
		state := SQLSTATE;
	END;
	PERFORM dblink_disconnect('m');
	RETURN state;
END$$;

-- For good, not rolled back.
CREATE FUNCTION done_by(who text, statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dblink_exec(format('dbname=%s user=%s host=%s port=%s', current_database(), who,
		current_setting('unix_socket_directories'), current_setting('port')),
		format('DO %L', format('BEGIN EXECUTE %L; END', statement)));
	RETURN NEXT pass(who || ' did ' || statement);
END$$;
SELECT done_by('vm_admin', 'GRANT vault_auditor TO vm_auditor');
SELECT done_by('vm_admin', 'GRANT vault_operator TO vm_operator');
SELECT done_by('vm_admin', 'CALL tde_vault.create_realm(''r'', owner => ''vm_rowner'', require_password => true)');
SELECT done_by('vm_admin', 'CALL tde_vault.realm_add(''r'', ARRAY[''t''])');
SELECT done_by('vm_admin', 'CALL tde_vault.realm_authorize(''r'', ARRAY[''vm_user''])');
SELECT done_by('vm_admin', 'CALL tde_vault.grant_vault_password(''r'', ''vm_user'', ''pw'')');
SELECT done_by('vm_admin', 'CALL tde_vault.create_command_rule(''rule1'', ARRAY[''DELETE''], ''TABLE'', ''public.plain'')');
SELECT done_by('vm_dba', 'CREATE TABLE before_ (id int)');

CREATE TABLE matrix (n serial, action text, dba char, admin char, auditor char, operator char, rowner char, towner char, "user" char, nobody char);
INSERT INTO matrix (action, dba, admin, auditor, operator, rowner, towner, "user", nobody) VALUES
-- realms
('CALL tde_vault.create_realm(''x'')',										'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('CALL tde_vault.drop_realm(''r'')',										'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('CALL tde_vault.realm_add(''r'', ARRAY[''t2''])',							'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_remove(''r'', ARRAY[''t''])',						'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_authorize(''r'', ARRAY[''vm_other''])',				'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_revoke(''r'', ARRAY[''vm_user''])',					'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_owner(''r'', ''vm_other'')',						'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_description(''r'', ''text'')',						'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_mode(''r'', ''simulate'')',							'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.realm_mode(''r'', ''disable'')',							'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
-- passwords
('CALL tde_vault.grant_vault_password(''r'', ''vm_user'', ''other'')',		'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.revoke_vault_password(''r'', ''vm_user'')',				'n', 'y', 'n', 'n', 'y', 'n', 'n', 'n'),
('CALL tde_vault.unlock_realm(''r'', ''pw'')',								'n', 'n', 'n', 'n', 'n', 'n', 'y', 'n'),
('CALL tde_vault.lock_realm()',											'y', 'y', 'y', 'y', 'y', 'y', 'y', 'y'),
-- rules
('CALL tde_vault.create_command_rule(''x'', ARRAY[''DROP''], ''TABLE'', ''public.plain'')', 'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('CALL tde_vault.alter_command_rule(''rule1'', ''disable'')',				'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('CALL tde_vault.drop_command_rule(''rule1'')',							'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
-- the vault itself, and its roles
('CALL tde_vault.disable_vault()',											'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('GRANT vault_admin TO vm_other',											'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('GRANT vault_auditor TO vm_other',										'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('GRANT vault_operator TO vm_other',										'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('REVOKE vault_auditor FROM vm_auditor',									'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('GRANT vm_user TO vm_other',												'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('ALTER ROLE vm_admin PASSWORD ''x''',										'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
('DROP ROLE vault_auditor',												'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('DROP EXTENSION tde_vault CASCADE',										'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('ALTER SYSTEM SET tde_vault.unlock_timeout = 28800',						'n', 'y', 'n', 'n', 'n', 'n', 'n', 'n'),
-- the audit log
('SELECT count(*) FROM tde_vault.audit_log',								'n', 'n', 'y', 'n', 'n', 'n', 'n', 'n'),
('SELECT * FROM tde_vault.audit_verify()',									'n', 'n', 'y', 'n', 'n', 'n', 'n', 'n'),
('SELECT tde_vault.audit_note(''matrix'')',								'y', 'y', 'n', 'y', 'n', 'n', 'n', 'n'),
('ALTER SYSTEM SET tde_vault.key_provider = ''file:/tmp/x''',				'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('ALTER SYSTEM SET work_mem = ''4MB''',									'y', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('ALTER VIEW tde_vault.audit_log RENAME TO x',								'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
-- rows of the realm (nobody has given the password here)
('SELECT * FROM t',														'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('INSERT INTO t VALUES (2)',												'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('DELETE FROM t',															'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('TRUNCATE t',																'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('DROP TABLE t',															'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('ALTER TABLE t ADD COLUMN x int',											'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('CREATE INDEX ON t (id)',													'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('GRANT SELECT ON t TO vm_other',											'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
-- what is not protected
('SELECT * FROM plain',													'y', 'y', 'y', 'y', 'y', 'y', 'y', 'y'),
('DELETE FROM plain',														'n', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
('CREATE TABLE mine (id int)',												'y', 'n', 'y', 'y', 'y', 'y', 'y', 'y'),
('GRANT SELECT ON t2 TO vm_other',											'y', 'n', 'n', 'n', 'n', 'y', 'n', 'n'),
('CREATE ROLE vm_new',														'y', 'n', 'n', 'n', 'n', 'n', 'n', 'n'),
-- keys
('SELECT * FROM tde_vault.keys',											'y', 'n', 'n', 'y', 'n', 'n', 'n', 'n'),
('CALL tde_vault.rotate_master_key()',										'y', 'n', 'n', 'y', 'n', 'n', 'n', 'n'),
('SELECT * FROM tde_vault.encryption_status',								'y', 'y', 'y', 'y', 'y', 'y', 'y', 'y'),
('SET tde_vault.enforce_encryption = on',									'y', 'n', 'n', 'n', 'n', 'n', 'n', 'n');

SELECT is(CASE r.state WHEN '00000' THEN 'y' WHEN '42501' THEN 'n' WHEN 'TV030' THEN 'n' WHEN 'TV031' THEN 'n'
		WHEN 'TV032' THEN 'n' WHEN 'TV036' THEN 'n' WHEN 'TV034' THEN 'n' ELSE r.state END,
	p.expected::text, p.who || ': ' || m.action)
FROM matrix m
CROSS JOIN LATERAL (VALUES ('vm_dba', m.dba), ('vm_admin', m.admin), ('vm_auditor', m.auditor), ('vm_operator', m.operator),
	('vm_rowner', m.rowner), ('vm_towner', m.towner), ('vm_user', m."user"), ('vm_nobody', m.nobody)) p (who, expected)
CROSS JOIN LATERAL (SELECT as_user(p.who, m.action) AS state) r
ORDER BY m.n;

-- What each sees of the vault's state.
CREATE FUNCTION seen_by(who text, what text) RETURNS bigint LANGUAGE sql AS $$
	SELECT n FROM dblink(format('dbname=%s user=%s host=%s port=%s', current_database(), who,
		current_setting('unix_socket_directories'), current_setting('port')), 'SELECT count(*) FROM tde_vault.' || what) AS x (n bigint)
$$;
SELECT is(seen_by(p.who, v.what), p.n, format('%s sees %s rows of %s', p.who, p.n, v.what))
FROM (VALUES ('realms'), ('command_rules'), ('vault_passwords'), ('realm_objects'), ('realm_authorizations')) v (what)
CROSS JOIN (VALUES ('vm_admin', 1::bigint), ('vm_auditor', 1), ('vm_dba', 0), ('vm_nobody', 0)) p (who, n);
SELECT is((SELECT count(*) FROM pg_attribute WHERE attrelid = 'tde_vault.vault_passwords'::regclass AND attname ~ 'hash|verifier|salt'), 0::bigint,
	'nobody sees hashes');

SELECT done_by('vm_admin', 'CALL tde_vault.disable_vault()');
SELECT * FROM finish();
\c postgres
ALTER SYSTEM RESET tde_vault.unlock_timeout;
ALTER SYSTEM RESET work_mem;
SET client_min_messages = warning;
DROP DATABASE vault_matrix;
DROP ROLE vm_dba, vm_admin, vm_auditor, vm_operator, vm_rowner, vm_towner, vm_user, vm_nobody, vm_other;
