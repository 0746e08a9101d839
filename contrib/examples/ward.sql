-- ward.sql: pgbench script, a day on the ward.
--
--   pgbench -n -c 4 -T 10 -f contrib/examples/ward.sql
--
-- One transaction: a lab result comes in, a history grows, a prescription
-- changes.
\set patient random(1, 3000)
BEGIN;
INSERT INTO clinic.lab_results (patient, test, result, taken_at)
    SELECT id, 'bedside glucose', 'reading of ' || name, clock_timestamp()
    FROM clinic.patients WHERE id = :patient;
UPDATE clinic.prescriptions SET dose = 'half of it, said ' || :client_id
    WHERE patient = :patient;
UPDATE clinic.patients SET history = right(history || ' Bedside visit. ', 3000)
    WHERE id = :patient;
COMMIT;
