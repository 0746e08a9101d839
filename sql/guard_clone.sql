-- A copy of a database with a vault is closed.
SET client_min_messages = warning;
CREATE ROLE gc_officer LOGIN;
CREATE ROLE gc_nurse LOGIN;
CREATE DATABASE guard_origin TEMPLATE template0;
\c guard_origin
SET client_min_messages = warning;
CREATE EXTENSION tde_vault;
CREATE TABLE patients (id int, name text) USING tde_heap;
INSERT INTO patients VALUES (1, 'Ottilie');
CREATE TABLE rooms (id int) USING tde_heap;
GRANT SELECT ON patients TO gc_nurse;
ALTER DATABASE ENABLE DATABASE VAULT;
GRANT VAULT_ADMIN TO gc_officer;
\c - gc_officer
CREATE REALM gc_records;
ALTER REALM gc_records ADD TABLE patients;
ALTER REALM gc_records AUTHORIZE gc_nurse;
\c - postgres
CREATE DATABASE guard_stolen TEMPLATE guard_origin;
\c guard_stolen
SELECT * FROM patients;
COPY patients TO STDOUT;
ALTER DATABASE ENABLE DATABASE VAULT;
ALTER DATABASE DISABLE DATABASE VAULT;
DROP EXTENSION tde_vault CASCADE;
ALTER TABLE patients SET ACCESS METHOD heap;
\c - gc_nurse
SELECT * FROM patients;
-- its vault administrator opens it
\c - gc_officer
ALTER DATABASE ENABLE DATABASE VAULT;
\c - gc_nurse
SELECT * FROM patients;
\c - postgres
SELECT * FROM patients;
-- a copy of a copy
\c guard_origin
CREATE DATABASE guard_stolen2 TEMPLATE guard_stolen;
\c guard_stolen2 gc_nurse
SELECT * FROM patients;
-- a closed copy may go, the original may not
\c postgres postgres
DROP DATABASE guard_stolen2;
DROP DATABASE guard_origin;
\c guard_stolen gc_officer
ALTER DATABASE DISABLE DATABASE VAULT;
\c guard_origin
ALTER DATABASE DISABLE DATABASE VAULT;
\c postgres postgres
DROP DATABASE guard_stolen;
DROP DATABASE guard_origin;
DROP ROLE gc_officer, gc_nurse;
