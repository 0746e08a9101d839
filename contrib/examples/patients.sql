-- patients.sql: a clinic's database, every table of it encrypted.
--
--   psql -f contrib/examples/patients.sql
--
-- Needs the extension tde_vault and a master key in the database.  Generates
-- the same rows every time; at most 4,800 patients.  For another number:
--
--   psql -v patients=1000 -f contrib/examples/patients.sql

\if :{?patients}
\else
    \set patients 3000
\endif

CREATE SCHEMA clinic;
SET search_path = clinic;
SET default_table_access_method = tde_heap;

CREATE TABLE patients (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    born date NOT NULL,
    insurance_number text NOT NULL UNIQUE,
    history text    -- long: most of it stands in the TOAST table
);
ALTER TABLE patients ALTER history SET STORAGE EXTERNAL;

CREATE TABLE diagnoses (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient bigint NOT NULL REFERENCES patients,
    code text NOT NULL,
    diagnosis text NOT NULL,
    made_on date NOT NULL
);

CREATE TABLE lab_results (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient bigint NOT NULL REFERENCES patients,
    test text NOT NULL,
    result text NOT NULL,
    taken_at timestamptz NOT NULL
);

CREATE TABLE prescriptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient bigint NOT NULL REFERENCES patients,
    drug text NOT NULL,
    dose text NOT NULL,
    prescribed_on date NOT NULL
);

WITH words AS (
    SELECT string_to_array('Ottilie Barnaby Clementine Leopold Philippa '
        'Ignatius Rosalind Thaddeus Wilhelmina Octavian Persephone Cornelius '
        'Henrietta Ambrose Evangeline Lysander Seraphina Benedikt Marigold '
        'Erasmus Guinevere Florian Isolde Casimir Tabitha Valentin Beatrix '
        'Dashiell Ludmilla Horatio Anneliese Montgomery Fredegunde Alasdair '
        'Theodora Balthasar Winifred Sylvester Eleonore Augustin', ' ') AS first,
        string_to_array('Ravenscroft Featherstone Oberholtzer Blankenship '
        'Winterbottom Vandermeer Thistlewood Kirchheimer Summerhayes '
        'Abercrombie Stolzenfels Pennyfeather Quarrington Hollingsworth '
        'Zimmerwald Cadwallader Brandenstein Loxley Mountjoy Dreyfurst '
        'Harrowgate Ellingbrook Falkenberg Grimaldson Ashdowne Nightingale '
        'Wolkenstein Pomfreyham Underhay Jessamine Kestrelton Larkspurr '
        'Marchbanks Northcotham Overstreet Peregrine Rosencrantzer '
        'Silbermann Tattersallow Vexley Whittaker-Bowes Yarborough '
        'Aldershotte Birchwater Copperfeld Darlingtonne Eisenhardt '
        'Fairweather Goldschmied Hawthornden Inglewoode Juniperus '
        'Kaltenbrunn Lindenmeyer Morgenstern Neuhauser Oakenshield '
        'Petticrew Quillfeather Rothermere Steinbrecher Trelawneyan '
        'Ulverstone Vogelweide Wetherby Xanthopoulos Yellowlees Zauberfeld '
        'Applethwaite Butterworth Crumplehorn Duckworthy Etheridge '
        'Finkelstein Gooseberrie Hedgecocke Ironmonger Jellicoe Kettlewell '
        'Lovelacey Mistlethwaite Nettleship Openshaw Pilkington Quimbeley '
        'Rainsborough Shufflebottom Turtletaub Uppington Villeneuve '
        'Witherspoon Yonderbeck Zellweger Archibaldi Bramblewick '
        'Culpepperson Dunderdale Entwhistle Fothergill Greengrasse '
        'Higginbottom Ickenham Jorgenssen Knickerbock Lillywhite Muggeridge '
        'Nottingdale Ormskirk Puddephatt Quartermain Ramsbotham '
        'Snodgrasse Thwackeray Umbridgeson Venkatraman Woolstonecraft '
        'Youngblood', ' ') AS last
)
INSERT INTO patients (name, born, insurance_number, history)
SELECT first[1 + n % 40] || ' ' || last[1 + n / 40 % 120],
       date '1931-04-17' + n * 7919 % 30000,
       'INS-' || lpad((n::bigint * 48271 % 100000007)::text, 9, '0'),
       (SELECT string_agg(format('Visit %s of %s %s: complained of %s. ', visit,
                   first[1 + n % 40], last[1 + n / 40 % 120],
                   (ARRAY['palpitations', 'night sweats', 'dizziness on standing',
                          'shortness of breath', 'joint pain'])[1 + (n + visit) % 5]),
                   '' ORDER BY visit)
        FROM generate_series(1, CASE WHEN n % 10 = 0 THEN 40 ELSE 2 END) visit)
FROM words, generate_series(0, :patients - 1) n;

INSERT INTO diagnoses (patient, code, diagnosis, made_on)
SELECT p.id, d.codes[k], d.names[k], date '2019-02-01' + (p.id * 31 + n * 101)::integer % 2400
FROM patients p
CROSS JOIN generate_series(1, 2) n
CROSS JOIN (SELECT ARRAY['I11.0', 'E11.9', 'G40.3', 'M05.8', 'F33.1', 'B20', 'C50.4', 'K50.0'] AS codes,
    ARRAY['hypertensive heart disease with heart failure',
          'type 2 diabetes mellitus without complications',
          'generalized idiopathic epilepsy', 'seropositive rheumatoid arthritis',
          'recurrent depressive disorder, moderate', 'human immunodeficiency virus disease',
          'malignant neoplasm of breast', 'Crohn disease of small intestine'] AS names) d
CROSS JOIN LATERAL (SELECT (1 + (p.id * 5 + n * 3) % 8)::integer AS k) pick;

INSERT INTO lab_results (patient, test, result, taken_at)
SELECT p.id, t.tests[k],
       format('%s %s', round((40 + (p.id * 37 + n * 11) % 1000) / 10.0, 1), t.units[k]),
       timestamptz '2020-01-06 08:00+00' + make_interval(hours => (p.id * 13 + n * 97)::integer % 50000)
FROM patients p
CROSS JOIN generate_series(1, 5) n
CROSS JOIN (SELECT ARRAY['glycated haemoglobin', 'serum creatinine', 'C-reactive protein',
          'thyrotropin', 'CD4 lymphocyte count', 'prostate-specific antigen'] AS tests,
    ARRAY['mmol/mol', 'umol/l', 'mg/l', 'mU/l', 'cells/ul', 'ng/ml'] AS units) t
CROSS JOIN LATERAL (SELECT (1 + (p.id + n) % 6)::integer AS k) pick;

INSERT INTO prescriptions (patient, drug, dose, prescribed_on)
SELECT p.id,
       (ARRAY['metoprolol succinate', 'metformin hydrochloride', 'levetiracetam',
              'methotrexate', 'escitalopram', 'dolutegravir', 'tamoxifen',
              'adalimumab'])[1 + (p.id * 5 + n * 3) % 8],
       (ARRAY['one tablet each morning', 'two tablets daily with food',
              'one injection every two weeks'])[1 + (p.id + n) % 3],
       date '2021-03-01' + (p.id * 17 + n * 53)::integer % 1500
FROM patients p
CROSS JOIN generate_series(1, 2) n;

CREATE INDEX ON patients (name);
CREATE INDEX ON diagnoses (diagnosis, patient);
CREATE INDEX ON lab_results USING hash (test);
CREATE INDEX ON lab_results (patient);
CREATE INDEX ON prescriptions USING gin (to_tsvector('simple', drug));
