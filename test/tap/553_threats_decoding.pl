# Logical decoding of what is no longer as it was: a realm's table that was
# rewritten (whose rows are logged as those of a table that is gone), or that
# was dropped, together with what the vault said of it.  More of row 18 of the
# list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(streaming => 1, conf => "wal_level = logical\n", sql => <<'SQL');
SET ROLE alice;
CREATE TABLE public.hers (v text) USING tde_heap;
RESET ROLE;
ALTER TABLE secret.patients OWNER TO alice;
ALTER TABLE secret.small OWNER TO alice;
GRANT CREATE ON SCHEMA secret TO alice;
SQL
run_as('mallory', q{SELECT pg_create_logical_replication_slot('peek', 'test_decoding');});
control('rewrites', <<'SQL', qr/ALTER TABLE\nALTER TABLE/);
ALTER TABLE secret.patients ALTER COLUMN id TYPE bigint;
ALTER TABLE secret.small ADD COLUMN r float8 DEFAULT random();
INSERT INTO secret.small VALUES (2, 'qmarker7kx2vw9');
SQL
run_as('mallory', q{INSERT INTO public.plain VALUES (2, 'plain row');});
run_as('alice', q{INSERT INTO public.hers VALUES ('row of hers');});
my $peek = q{FROM pg_logical_slot_peek_changes('peek', NULL, NULL, 'include-rewrites', 'on')};
my $all = attack('18: rows of a rewrite', 'mallory', "SELECT data $peek;", qr/plain row/);
like($all, qr/row of hers/, 'what is in no realm is decoded');
attack('18: rows of a rewrite', 'alice', "SELECT data $peek;", qr/plain row/);
like(run_as('alice', UNLOCK . "SELECT data $peek;"), qr/qmarker/, 'who has unlocked the realm decodes it');

# dropped: what the vault said of it is gone
control('drop', 'DROP TABLE secret.small; DROP TABLE secret.patients;', qr/DROP TABLE\nDROP TABLE/);
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.realm_objects WHERE object::text ~ 'small|patients'}), '0', 'the vault has forgotten the tables');
$all = attack('18: rows of dropped tables', 'mallory', "SELECT data $peek;", qr/plain row/);
like($all, qr/row of hers/, 'what is in no realm is decoded still');
run_as('mallory', 'DROP TABLE public.plain;');
like(run_as('mallory', "SELECT data $peek;"), qr/plain row/, 'nor is a plain table left out for being dropped');
done_testing();
